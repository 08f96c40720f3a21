//! Socket addresses as the cases write them: `1.2.3.4:80`, `[::1]:80`, `unix:///run/x.sock`.

use std::{
    mem::offset_of,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result, bail};

/// Bytes of a kernel socket address.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>> {
    if let Some(path) = text.strip_prefix("unix://") {
        return unix(path);
    }
    let address: SocketAddr =
        text.parse().with_context(|| format!("`{text}` is no address; write ADDRESS:PORT or unix://PATH"))?;
    Ok(inet(address))
}

/// Address family of such bytes.
pub(crate) fn family(bytes: &[u8]) -> i32 {
    bytes.first_chunk().map_or(0, |family| i32::from(u16::from_ne_bytes(*family)))
}

fn inet(address: SocketAddr) -> Vec<u8> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut bytes = u16::try_from(family).unwrap_or_default().to_ne_bytes().to_vec();
    bytes.extend(address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes.extend(ip.octets());
            bytes.extend([0; 8]);
        }
        IpAddr::V6(ip) => {
            bytes.extend([0; 4]);
            bytes.extend(ip.octets());
            bytes.extend([0; 4]);
        }
    }
    bytes
}

fn unix(path: &str) -> Result<Vec<u8>> {
    let room = size_of::<libc::sockaddr_un>() - offset_of!(libc::sockaddr_un, sun_path);
    if path.is_empty() || path.len() >= room {
        bail!("the path of a unix socket has 1 to {} bytes, `{path}` has {}", room - 1, path.len());
    }
    let mut bytes = u16::try_from(libc::AF_UNIX).unwrap_or_default().to_ne_bytes().to_vec();
    bytes.extend(path.as_bytes());
    bytes.push(0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_kernels_layout() {
        let four = parse("127.0.0.1:80").unwrap();
        assert_eq!((four.len(), family(&four)), (size_of::<libc::sockaddr_in>(), libc::AF_INET));
        assert_eq!(&four[2..8], [0, 80, 127, 0, 0, 1]);
        let six = parse("[::1]:443").unwrap();
        assert_eq!((six.len(), family(&six)), (size_of::<libc::sockaddr_in6>(), libc::AF_INET6));
        assert_eq!((six[23], &six[2..4]), (1, &[1, 187][..]));
        assert_eq!(&parse("unix:///a").unwrap()[2..], b"/a\0");
        for wrong in ["", "1.2.3.4", "[::1]", "unix://", "host:80"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
