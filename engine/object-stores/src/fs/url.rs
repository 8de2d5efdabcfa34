use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use telecine_engine::objects::ObjectError;

/// The directory of a `file:///directory` address, percent-decoded.
pub(super) fn directory(url: &str) -> Result<PathBuf, ObjectError> {
    let unsupported = |why: &str| ObjectError::Unsupported {
        url: url.to_owned(),
        why: why.to_owned(),
    };
    let rest = url
        .strip_prefix("file://")
        .ok_or_else(|| unsupported("it has to be file:///directory or s3://bucket/prefix"))?;
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(unsupported(
            "the path has to be absolute, as in file:///directory",
        ));
    }
    if path.contains(['?', '#']) {
        return Err(unsupported("write `?` as %3F and `#` as %23"));
    }
    let bytes = percent_decode(path).ok_or_else(|| unsupported("it has a bad percent escape"))?;
    if bytes.contains(&0) {
        return Err(unsupported("it has a zero byte"));
    }
    Ok(OsString::from_vec(bytes).into())
}

/// `None` if a `%` is not followed by two hex digits.
fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            plain => plain,
        });
    }
    Some(decoded)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::directory;

    #[test]
    fn percent_escapes_are_decoded() {
        assert_eq!(
            directory("file:///media/a%20b/%C3%BC%25").unwrap(),
            Path::new("/media/a b/ü%")
        );
    }

    #[test]
    fn localhost_is_this_machine() {
        assert_eq!(directory("file://localhost/m").unwrap(), Path::new("/m"));
    }

    #[test]
    fn what_is_no_local_directory_is_refused() {
        for url in [
            "s3://bucket",
            "file://host/dir",
            "file:relative",
            "file://relative",
            "/plain/path",
            "file:///a%2",
            "file:///a%zz",
            "file:///a%00b",
            "file:///a?b",
            "",
        ] {
            assert!(directory(url).is_err(), "{url:?}");
        }
    }
}
