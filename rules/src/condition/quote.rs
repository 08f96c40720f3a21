//! Quoting and escapes of values.

/// What is wrong with an escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscapeError {
    /// `\x` without two hexadecimal digits.
    #[error("`\\x` needs two hexadecimal digits")]
    Hex,
    /// A backslash before something it does not escape.
    #[error("unknown escape `\\{0}`")]
    Unknown(char),
    /// A backslash at the end.
    #[error("a lone backslash ends the text")]
    Lone,
}

/// Bytes that end a bare value.
pub fn ends_bare(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'(' | b')' | b',' | b'=' | b'"' | b'\'')
}

/// Blanks of the language: space, tab, line ends and backspace.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x08)
}

/// Resolves the escapes of the text between two `quote`s.
pub fn unescape(text: &str, quote: char) -> Result<Vec<u8>, EscapeError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            let mut buffer = [0; 4];
            out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            continue;
        }
        let byte = match rest.next().ok_or(EscapeError::Lone)? {
            'b' => 0x08,
            'f' => 0x0c,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            // A backslash before a blank is the way old rules write a backslash; the blank is lost.
            ' ' | '\\' => b'\\',
            '/' => b'/',
            'x' => hex_byte(rest.next(), rest.next()).ok_or(EscapeError::Hex)?,
            same if same == quote => quote as u8,
            other => return Err(EscapeError::Unknown(other)),
        };
        out.push(byte);
    }
    Ok(out)
}

/// The value in a form that parses back to it: bare when it can be, else in double quotes.
pub fn escape(bytes: &[u8]) -> String {
    let plain = |&byte: &u8| !ends_bare(byte) && byte != b'\\' && byte.is_ascii_graphic();
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.is_empty() && bytes.iter().all(plain) => text.to_owned(),
        _ => quoted(bytes),
    }
}

/// The value in double quotes.
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                control if control.is_ascii_control() => push_hex(&mut out, control as u8),
                other => out.push(other),
            }
        }
        for &byte in chunk.invalid() {
            push_hex(&mut out, byte);
        }
    }
    out.push('"');
    out
}

fn push_hex(out: &mut String, byte: u8) {
    out.push_str("\\x");
    for nibble in [byte >> 4, byte & 15] {
        out.extend(char::from_digit(u32::from(nibble), 16));
    }
}

fn hex_byte(high: Option<char>, low: Option<char>) -> Option<u8> {
    let value = high?.to_digit(16)? * 16 + low?.to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_resolve() {
        assert_eq!(unescape(r"a\x41\n\\", '"').unwrap(), b"aA\n\\");
        assert_eq!(unescape("\\\"", '"').unwrap(), b"\"");
        assert_eq!(unescape("\\\"", '\''), Err(EscapeError::Unknown('"')));
        assert_eq!(unescape(r"\x4", '"'), Err(EscapeError::Hex));
        assert_eq!(unescape("\\", '"'), Err(EscapeError::Lone));
    }

    #[test]
    fn every_value_survives_quoting() {
        let all: Vec<u8> = (0..=255).collect();
        for value in [&b""[..], b"plain", b"a b", b"a=b", b"\xff\xfe", "ç".as_bytes(), b"\\", &all] {
            let text = escape(value);
            let back = match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
                Some(inner) => unescape(inner, '"').unwrap(),
                None => text.clone().into_bytes(),
            };
            assert_eq!(back, value, "{text}");
        }
    }
}
