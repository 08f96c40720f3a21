//! Programs that the tests, the demo and the benches run besides the product itself.

use anyhow::Result;

use super::packages::Packages;
use crate::workspace;

/// A program, the Debian package that holds it, and who needs it.
pub(super) struct Tool {
    pub(super) program: &'static str,
    package: &'static str,
    pub(super) purpose: &'static str,
}

/// Everything the tests and the demo run.
pub(super) const TOOLS: [Tool; 8] = [
    Tool { program: "cc", package: "gcc", purpose: "linking the workspace" },
    Tool { program: "ip", package: "iproute2", purpose: "network namespaces of the tests and the demo" },
    Tool { program: "busybox", package: "busybox-static", purpose: "what runs in the tests' containers" },
    Tool {
        program: "containerd",
        package: "containerd",
        purpose: "containers of the tests and the trigger cases",
    },
    Tool { program: "podman", package: "podman", purpose: "containers of the tests and the trigger cases" },
    Tool { program: "runc", package: "runc", purpose: "containers of the tests and the trigger cases" },
    Tool { program: "python3", package: "python3", purpose: "the interpreter in the demo and the tests" },
    Tool { program: "unshare", package: "util-linux", purpose: "namespaces of the demo's steps" },
];

/// What some tests run that are skipped without it: it is large, and not everywhere to be had.
pub(super) const TESTS: [Tool; 3] = [
    Tool { program: "chromium", package: "chromium", purpose: "the browser that looks at the dashboard" },
    // Its servers' programs are not in `PATH`; this one comes with them.
    Tool { program: "pg_ctlcluster", package: "postgresql", purpose: "the database that collectors share" },
    Tool { program: "redis-server", package: "redis-server", purpose: "the bus that collectors share" },
];

/// What tests the alert rules, with the server that the dashboards are put to; it is not started as a service.
pub(super) const ALERTS: [Tool; 1] =
    [Tool { program: "promtool", package: "prometheus", purpose: "the tests of alert rules and dashboards" }];

/// What only `cargo xtask bench` runs: installed when a bench asks for it.
pub(super) const BENCH: [Tool; 6] = [
    Tool { program: "ethtool", package: "ethtool", purpose: "the interface of `bench ratelimit`" },
    Tool {
        program: "iptables",
        package: "iptables",
        purpose: "a limiter that `bench ratelimit` compares with",
    },
    Tool { program: "nft", package: "nftables", purpose: "a limiter that `bench ratelimit` compares with" },
    Tool { program: "make", package: "make", purpose: "the build that `bench compile` measures" },
    Tool { program: "nginx", package: "nginx", purpose: "the web server of `bench nginx`" },
    Tool { program: "wrk", package: "wrk", purpose: "the client of `bench nginx`" },
];

/// What `cargo xtask bench services` compares with. A file stands for a package without a program.
pub(super) const PROXIES: [Tool; 2] = [
    Tool { program: "haproxy", package: "haproxy", purpose: "a proxy that `bench services` compares with" },
    Tool {
        program: NGINX_STREAM,
        package: "libnginx-mod-stream",
        purpose: "a proxy that `bench services` compares with",
    },
];

/// The web server's module for connections, where Debian puts it.
pub(crate) const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Which of them are missing.
pub(super) fn missing(tools: &'static [Tool]) -> Vec<&'static Tool> {
    tools.iter().filter(|tool| workspace::program(tool.program).is_none()).collect()
}

/// Installs them.
pub(super) fn install(missing: &[&'static Tool], packages: &Packages) -> Result<()> {
    let names: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    packages.install(&names, "run by the tests and the demo")
}

/// Installs what tests or benches run; a service among it is not started.
pub(super) fn install_quietly(missing: &[&'static Tool], packages: &Packages) -> Result<()> {
    let names: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    packages.install_stopped(&names, "run by tests and benches")
}
