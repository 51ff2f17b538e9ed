//! Strict parser of HTTP/1.1 requests. It accepts only requests that have a single interpretation.

use std::ops::Range;

/// Result of parsing the start of a byte string.
#[derive(Debug, Eq, PartialEq)]
pub enum Reading {
    /// A request of this length, in bytes.
    Request(usize),
    /// An incomplete request, which is valid so far.
    Partial,
    /// Not a strictly valid request.
    Fault(&'static str),
}

/// Framing of a body.
enum Framing {
    Length(usize),
    Chunked,
}

/// Parses one request according to RFC 9112, without obsolete syntax.
pub fn read(bytes: &[u8]) -> Reading {
    match read_request(bytes) {
        Ok(Some(length)) => Reading::Request(length),
        Ok(None) => Reading::Partial,
        Err(fault) => Reading::Fault(fault),
    }
}

fn read_request(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let Some(line) = next_line(bytes, 0)? else {
        return Ok(None);
    };
    check_request_line(&bytes[line.clone()])?;
    let mut at = line.end + 2;
    let mut fields = Vec::new();
    loop {
        let Some(line) = next_line(bytes, at)? else {
            return Ok(None);
        };
        at = line.end + 2;
        if line.is_empty() {
            break;
        }
        fields.push(read_field(&bytes[line])?);
    }
    match find_framing(&fields)? {
        Framing::Length(length) => Ok((bytes.len() - at >= length).then_some(at + length)),
        Framing::Chunked => read_chunks(bytes, at),
    }
}

/// Range of the next line, without its line end. `None` if the line is incomplete.
fn next_line(bytes: &[u8], at: usize) -> Result<Option<Range<usize>>, &'static str> {
    let Some(length) = bytes[at..].iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let line = &bytes[at..at + length];
    match line.split_last() {
        Some((b'\r', line)) if !line.contains(&b'\r') => Ok(Some(at..at + length - 1)),
        Some((b'\r', _)) => Err("CR within a line"),
        _ => Err("LF without CR"),
    }
}

fn check_request_line(line: &[u8]) -> Result<(), &'static str> {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts[..] else {
        return Err("request line");
    };
    if !is_token(method) {
        return Err("method");
    }
    if version != b"HTTP/1.1" {
        return Err("version");
    }
    let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
    if !target.starts_with(b"/") || !target.iter().all(plain) {
        return Err("target");
    }
    Ok(())
}

fn read_field(line: &[u8]) -> Result<(String, &[u8]), &'static str> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.ok_or("field without a colon")?);
    if !is_token(name) {
        return Err("field name");
    }
    let value = &value[1..];
    if value
        .iter()
        .any(|byte| byte.is_ascii_control() && *byte != b'\t')
    {
        return Err("control character in a field");
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Ok((name, value.trim_ascii()))
}

fn find_framing(fields: &[(String, &[u8])]) -> Result<Framing, &'static str> {
    let all = |name: &str| -> Vec<&[u8]> {
        let named = fields.iter().filter(|field| field.0 == name);
        named.map(|field| field.1).collect()
    };
    if all("host").len() != 1 {
        return Err("not one Host");
    }
    match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Ok(Framing::Length(0)),
        ([], [coding]) if *coding == b"chunked" => Ok(Framing::Chunked),
        ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            let length = std::str::from_utf8(length)
                .ok()
                .and_then(|text| text.parse().ok());
            length.map(Framing::Length).ok_or("length")
        }
        _ => Err("framing"),
    }
}

fn read_chunks(bytes: &[u8], mut at: usize) -> Result<Option<usize>, &'static str> {
    loop {
        let Some(line) = next_line(bytes, at)? else {
            return Ok(None);
        };
        at = line.end + 2;
        let digits = &bytes[line];
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err("chunk size");
        }
        let size = std::str::from_utf8(digits).ok();
        let size = size.and_then(|text| usize::from_str_radix(text, 16).ok());
        match size.ok_or("chunk size")? {
            0 => break,
            size if bytes.len() - at < size.saturating_add(2) => return Ok(None),
            size => at += size,
        }
        if bytes[at..at + 2] != *b"\r\n" {
            return Err("end of a chunk");
        }
        at += 2;
    }
    loop {
        let Some(line) = next_line(bytes, at)? else {
            return Ok(None);
        };
        at = line.end + 2;
        if line.is_empty() {
            return Ok(Some(at));
        }
        let (name, _) = read_field(&bytes[line])?;
        if ["content-length", "transfer-encoding", "host"].contains(&&*name) {
            return Err("trailer that belongs into the head");
        }
    }
}

fn is_token(text: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(token)
}
