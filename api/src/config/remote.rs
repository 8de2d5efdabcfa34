use std::fmt;

use reqwest::Url;

use super::Reader;

/// A server that commands act on instead of the embedded engine.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    /// Its address.
    pub(crate) url: Url,
    /// The key that it wants.
    pub(crate) key: Option<String>,
}

impl Remote {
    /// The server that the settings name; none if they name none.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Option<Self>> {
        let url = reader.read("server", String::new, url);
        let key = reader.read("api_key", String::new, key);
        let (url, key) = (url?, key?);
        Some(url.map(|url| Self { url, key }))
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

fn url(text: &str) -> Result<Option<Url>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || "it is no address such as http://127.0.0.1:3000".to_owned();
    let url = Url::parse(text).map_err(|_| wrong())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    match url.scheme() {
        "http" | "https" if plain && url.has_host() => Ok(Some(url)),
        _ => Err(wrong()),
    }
}

/// A key as a header can carry it.
fn key(text: &str) -> Result<Option<String>, String> {
    match text {
        "" => Ok(None),
        text if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(text.to_owned())),
        _ => Err("it is no key: one has neither blanks nor control characters".to_owned()),
    }
}
