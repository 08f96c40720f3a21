//! Real servers in directories of their own, on sockets there: nothing of them is left, also when a test is killed.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{MetadataExt, chown},
        net::UnixStream,
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rampart_collector::store::{Place, postgres::Settings};
use tempfile::TempDir;

use crate::PATIENCE;

/// Runs a program until its own input ends, which it does when the test dies.
const GUARD: &str = r#""$@" & pid=$!; read -r line; kill -INT $pid; wait $pid"#;

/// A running server.
pub(crate) struct Server {
    guard: Child,
    dir: TempDir,
}

static POSTGRES: Mutex<Weak<Server>> = Mutex::new(Weak::new());
static REDIS: Mutex<Weak<Server>> = Mutex::new(Weak::new());
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A PostgreSQL server; tests that run at a time share one.
pub(crate) fn postgres() -> Result<Arc<Server>, String> {
    shared(&POSTGRES, || {
        let postgres = program("postgres")?;
        let server = cluster()?;
        let mut command = guarded(&postgres);
        command.arg("-D").arg(server.path().join("data")).arg("-k").arg(server.path());
        command.args(["-c", "listen_addresses=", "-c", "max_connections=60"]);
        start(command, server, ".s.PGSQL.5432")
    })
}

/// A PostgreSQL server of its own that listens on a port of loopback with TLS, and its authority's certificate.
pub(crate) fn postgres_with_tls() -> Result<(Server, u16, PathBuf), String> {
    let (postgres, openssl) = (program("postgres")?, program("openssl")?);
    let server = cluster()?;
    let at = server.path().to_owned();
    let run = |line: &str| {
        let output = Command::new(&openssl).args(line.split(' ')).current_dir(&at).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    run(&format!("req -x509 {curve} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
    run(&format!("req -new {curve} -keyout server.key -out server.csr -subj /CN=x"));
    fs::write(at.join("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    run(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
    if is_root() {
        chown(at.join("server.key"), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut command = guarded(&postgres);
    command.arg("-D").arg(at.join("data")).arg("-k").arg(&at).args(["-p", &port.to_string()]);
    command.args(["-c", "listen_addresses=127.0.0.1", "-c", "ssl=on"]);
    command.arg("-c").arg(format!("ssl_cert_file={}", at.join("server.pem").display()));
    command.arg("-c").arg(format!("ssl_key_file={}", at.join("server.key").display()));
    let server = start(command, server, &format!(".s.PGSQL.{port}"))?;
    Ok((server, port, at.join("ca.pem")))
}

/// A directory with an empty database cluster in it.
fn cluster() -> Result<TempDir, String> {
    let initdb = program("initdb")?;
    let dir = directory()?;
    let mut init = Command::new(initdb);
    init.args(["--auth=trust", "--username=rampart", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]);
    init.arg(dir.path().join("data")).env("TZ", "UTC");
    unprivileged(&mut init);
    let output = init.output().map_err(|error| format!("cannot run `initdb`: {error}"))?;
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    Ok(dir)
}

/// A Redis server, as [`postgres`].
pub(crate) fn redis() -> Result<Arc<Server>, String> {
    shared(&REDIS, || {
        let redis = program("redis-server")?;
        let server = directory()?;
        let mut command = guarded(&redis);
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
        command.arg(server.path().join("redis.sock")).arg("--dir").arg(server.path());
        start(command, server, "redis.sock")
    })
}

fn shared(
    place: &Mutex<Weak<Server>>,
    make: impl FnOnce() -> Result<Server, String>,
) -> Result<Arc<Server>, String> {
    let mut running = place.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = running.upgrade() {
        return Ok(server);
    }
    let server = Arc::new(make()?);
    *running = Arc::downgrade(&server);
    Ok(server)
}

fn program(name: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    let mut folders = env::split_paths(&path).chain(debian);
    let found = folders.find(|folder| folder.join(name).is_file());
    found.map(|folder| folder.join(name)).ok_or_else(|| format!("there is no `{name}` on this machine"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Who runs the servers when root runs the tests: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;

fn directory() -> Result<TempDir, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    if is_root() {
        chown(dir.path(), Some(NOBODY), Some(NOBODY)).map_err(|error| error.to_string())?;
    }
    Ok(dir)
}

fn unprivileged(command: &mut Command) {
    command.stdin(Stdio::null()).current_dir("/");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

fn guarded(program: &Path) -> Command {
    let mut command = Command::new("sh");
    unprivileged(&mut command);
    command.args(["-c", GUARD, "guard"]).arg(program).stdin(Stdio::piped()).stdout(Stdio::null());
    command
}

fn start(mut command: Command, dir: TempDir, socket: &str) -> Result<Server, String> {
    let log = fs::File::create(dir.path().join("log")).map_err(|error| error.to_string())?;
    let guard = command.stderr(log).spawn().map_err(|error| format!("cannot run `sh`: {error}"))?;
    let server = Server { guard, dir };
    let started = Instant::now();
    while UnixStream::connect(server.dir.path().join(socket)).is_err() {
        let log = || fs::read_to_string(server.dir.path().join("log")).unwrap_or_default();
        assert!(started.elapsed() < PATIENCE, "the server does not start: {}", log());
        thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

impl Server {
    /// The address of a new database of a PostgreSQL server.
    pub(crate) fn database(&self) -> String {
        let name = format!("test{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let url =
            |database: &str| format!("host={} user=rampart dbname={database}", self.dir.path().display());
        let make = async {
            let started = Instant::now();
            // It listens before it is ready.
            let (client, connection) = loop {
                match tokio_postgres::connect(&url("postgres"), tokio_postgres::NoTls).await {
                    Ok(connected) => break connected,
                    Err(error) => assert!(started.elapsed() < PATIENCE, "no connection: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            let connection = tokio::spawn(connection);
            client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
            drop(client);
            connection.await.unwrap().unwrap();
        };
        // On a thread of its own: the test may be asynchronous itself.
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(make);
        };
        thread::scope(|scope| scope.spawn(run).join()).unwrap();
        url(&name)
    }

    /// The address of a Redis server.
    pub(crate) fn redis_url(&self) -> String {
        format!("unix://{}", self.dir.path().join("redis.sock").display())
    }
}

/// A store of this address.
pub(crate) fn place(url: &str, takeover: Duration) -> Place {
    let url = url.parse().unwrap();
    Place::Database(Box::new(Settings { url, read_url: None, ca_file: None, takeover }))
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
