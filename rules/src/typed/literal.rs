//! Literals in the type of what they are compared with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    catalog::FieldType,
    condition::ast::{Literal, Op},
    typed::{Const, Type},
};

/// Ports by service name; the names rules use, not a whole services database.
const SERVICES: [(&str, u16); 40] = [
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("tftp", 69),
    ("http", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("ntp", 123),
    ("netbios-ns", 137),
    ("netbios-dgm", 138),
    ("netbios-ssn", 139),
    ("imap2", 143),
    ("snmp", 161),
    ("snmp-trap", 162),
    ("bgp", 179),
    ("irc", 194),
    ("ldap", 389),
    ("https", 443),
    ("microsoft-ds", 445),
    ("submission", 587),
    ("syslog", 514),
    ("ldaps", 636),
    ("rsync", 873),
    ("imaps", 993),
    ("pop3s", 995),
    ("socks", 1080),
    ("openvpn", 1194),
    ("ms-sql-s", 1433),
    ("nfs", 2049),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("amqp", 5672),
    ("redis", 6379),
    ("http-alt", 8080),
    ("git", 9418),
    ("mongodb", 27017),
];

/// Converts a literal; the error says what it should have been.
pub(super) fn convert(literal: &Literal, ty: Type, op: Op) -> Result<Const, String> {
    let text = || std::str::from_utf8(&literal.bytes).map_err(|_| "is not text".to_owned());
    match ty.base {
        FieldType::Text | FieldType::Path => {
            if literal.bytes.contains(&0) {
                return Err("holds a NUL byte, which text never has".to_owned());
            }
            Ok(Const::Bytes(literal.bytes.clone()))
        }
        FieldType::Buffer if matches!(op, Op::BContains | Op::BStartsWith) => hex(&literal.bytes)
            .map(Const::Bytes)
            .ok_or_else(|| "is not pairs of hexadecimal digits".to_owned()),
        FieldType::Buffer | FieldType::Dyn => Ok(Const::Bytes(literal.bytes.clone())),
        FieldType::Bool => match text()? {
            "true" => Ok(Const::Bool(true)),
            "false" => Ok(Const::Bool(false)),
            _ => Err("is neither `true` nor `false`".to_owned()),
        },
        FieldType::Ip => address(text()?).map(Const::Ip).ok_or_else(|| "is not an IP address".to_owned()),
        FieldType::Net => network(text()?)
            .map(|(address, length)| Const::Net(address, length))
            .ok_or_else(|| "is not a network such as `10.0.0.0/8`".to_owned()),
        FieldType::Port => {
            let text = text()?;
            let named = SERVICES.iter().find(|(name, _)| *name == text).map(|&(_, port)| i128::from(port));
            named
                .or_else(|| integer(text).filter(|port| (0..=65535).contains(port)))
                .map(Const::Int)
                .ok_or_else(|| "is neither a port number nor a known service".to_owned())
        }
        FieldType::Uint | FieldType::RelTime | FieldType::AbsTime => {
            let value = integer(text()?).ok_or_else(|| "is not a decimal number".to_owned())?;
            // As in C, a negative literal means the number with the same bits: -1 is "no user".
            let bits = u32::from(ty.bits.clamp(1, 64));
            let value = if value < 0 { value + (1i128 << bits) } else { value };
            Ok(Const::Int(value))
        }
        FieldType::Int | FieldType::Float => {
            integer(text()?).map(Const::Int).ok_or_else(|| "is not a decimal number".to_owned())
        }
    }
}

/// A decimal integer that fits 64 bits, signed or not.
fn integer(text: &str) -> Option<i128> {
    let value: i128 = text.parse().ok()?;
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value).then_some(value)
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.chunks(2)
        .map(|pair| match *pair {
            [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

fn address(text: &str) -> Option<IpAddr> {
    if text.contains('.') && !text.contains(':') {
        text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
    } else {
        text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    }
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (base, length) = text.split_once('/')?;
    let address = address(base)?;
    let length: u8 = length.parse().ok()?;
    let masked = match address {
        IpAddr::V4(v4) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
        _ => return None,
    };
    Some((masked, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Span;

    fn read(text: &str, base: FieldType, bits: u8, op: Op) -> Option<Const> {
        let literal = Literal { bytes: text.as_bytes().to_vec(), quoted: false, span: Span::default() };
        convert(&literal, Type { base, bits, list: false }, op).ok()
    }

    #[test]
    fn literals_take_the_type_of_the_field() {
        assert_eq!(read("-1", FieldType::Uint, 32, Op::Eq), Some(Const::Int(4_294_967_295)));
        assert_eq!(read("-1", FieldType::Int, 64, Op::Eq), Some(Const::Int(-1)));
        assert_eq!(read("0x10", FieldType::Int, 64, Op::Eq), None);
        assert_eq!(read("1.0", FieldType::Float, 64, Op::Eq), None);
        assert_eq!(read("TRUE", FieldType::Bool, 0, Op::Eq), None);
        assert_eq!(read("ssh", FieldType::Port, 16, Op::Eq), Some(Const::Int(22)));
        assert_eq!(read("70000", FieldType::Port, 16, Op::Eq), None);
        assert_eq!(read("6aF0", FieldType::Buffer, 0, Op::BContains), Some(Const::Bytes(vec![0x6a, 0xf0])));
        assert_eq!(read("6aF", FieldType::Buffer, 0, Op::BContains), None);
        assert_eq!(read("a\0", FieldType::Text, 0, Op::Eq), None);
        let eight = Const::Net(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8);
        assert_eq!(read("10.9.8.7/8", FieldType::Net, 0, Op::Eq), Some(eight));
        assert!(read("10::0/16", FieldType::Net, 0, Op::Eq).is_some());
        assert!(read("0.0.0.0/0", FieldType::Net, 0, Op::Eq).is_some());
        for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "x/8", "::/129"] {
            assert_eq!(read(bad, FieldType::Net, 0, Op::Eq), None, "{bad}");
        }
    }
}
