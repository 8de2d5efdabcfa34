//! Who may do what over HTTP: API keys, each with its scopes.

use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::{Code, Problem};

/// The header that carries a key.
pub(crate) const API_KEY: &str = "x-api-key";
/// The least hex digits of a key: 128 bits cannot be guessed.
const MIN_HEX_DIGITS: usize = 32;
/// The most hex digits of a key.
const MAX_HEX_DIGITS: usize = 256;
/// Keys of one process; each request is compared with all of them.
const MAX_KEYS: usize = 100;

/// What a key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// See jobs, workflows and activities.
    JobsRead,
    /// Submit, cancel and retry jobs.
    JobsWrite,
    /// Delete media.
    MediaWrite,
    /// Work on jobs from afar.
    Workers,
    /// Everything.
    Admin,
}

impl Scope {
    const ALL: [Self; 5] = [
        Self::JobsRead,
        Self::JobsWrite,
        Self::MediaWrite,
        Self::Workers,
        Self::Admin,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::JobsRead => "jobs:read",
            Self::JobsWrite => "jobs:write",
            Self::MediaWrite => "media:write",
            Self::Workers => "workers",
            Self::Admin => "admin",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is no scope; these are: {names}")
        })
    }
}

/// The keys of a server. Holds hashes: what is compared takes the same time whatever is presented.
#[derive(Clone, Default)]
pub(crate) struct ApiKeys(Vec<ApiKey>);

#[derive(Clone)]
struct ApiKey {
    id: String,
    sha256: [u8; 32],
    scopes: Vec<Scope>,
}

impl ApiKeys {
    /// Reads `id:hex` and `id:hex=scope+scope`, separated by commas.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim);
        let entries = entries.filter(|entry| !entry.is_empty()).enumerate();
        let mut keys = Vec::<ApiKey>::new();
        for (index, entry) in entries {
            // The text of a key is in no message.
            let key = ApiKey::parse(entry).map_err(|why| format!("key {}: {why}", index + 1))?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(format!("two keys are called {}", key.id));
            }
            keys.push(key);
        }
        if keys.len() > MAX_KEYS {
            return Err(format!("these are more than {MAX_KEYS} keys"));
        }
        Ok(Self(keys))
    }

    /// Whether everybody may do everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who presents a key. Looks at all keys, whichever it is.
    pub(crate) fn authenticate(&self, presented: Option<&[u8]>) -> Result<Caller, Problem> {
        if self.is_empty() {
            return Ok(Caller::anybody());
        }
        let Some(presented) = presented else {
            let detail = "this server wants an API key in the header X-API-Key";
            return Err(Problem::new(Code::Unauthorized, detail));
        };
        let presented = Sha256::digest(presented);
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.sha256.ct_eq(presented.as_slice())) {
                found = Some(key);
            }
        }
        let key = found.ok_or_else(|| {
            Problem::new(Code::Unauthorized, "the API key is none of this server")
        })?;
        Ok(Caller {
            id: Some(key.id.clone()),
            scopes: key.scopes.clone(),
        })
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.0.iter().map(|key| &key.id);
        f.debug_set().entries(ids).finish()
    }
}

impl ApiKey {
    fn parse(entry: &str) -> Result<Self, String> {
        let (key, scopes) = match entry.split_once('=') {
            Some((key, scopes)) => (key, Some(scopes)),
            None => (entry, None),
        };
        let (id, secret) = key.split_once(':').ok_or("write it as id:hex")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if id.is_empty() || id.len() > 64 || !id.chars().all(plain) {
            return Err("its id has to be 1 to 64 letters, digits, `-`, `_` or `.`".to_owned());
        }
        let digits = MIN_HEX_DIGITS..=MAX_HEX_DIGITS;
        if !digits.contains(&secret.len()) || !secret.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(format!(
                "the key of {id} has to be {MIN_HEX_DIGITS} to {MAX_HEX_DIGITS} hex digits; \
                 `openssl rand -hex 32` makes one"
            ));
        }
        let scopes = match scopes {
            Some(scopes) => scopes.split('+').map(Scope::parse).collect(),
            None => Ok(vec![Scope::Admin]),
        };
        Ok(Self {
            id: id.to_owned(),
            sha256: Sha256::digest(secret.as_bytes()).into(),
            scopes: scopes?,
        })
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    id: Option<String>,
    scopes: Vec<Scope>,
}

impl Caller {
    /// Whoever reaches a server without keys.
    fn anybody() -> Self {
        Self {
            id: None,
            scopes: vec![Scope::Admin],
        }
    }

    /// Refuses what the key does not allow.
    fn may(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin) {
            return Ok(());
        }
        let scope = scope.as_str();
        let detail = format!("this API key does not have the scope {scope}");
        Err(Problem::new(Code::Forbidden, detail))
    }

    /// Who it is, for a job's history: `key ci`, or `api`.
    pub(crate) fn name(&self) -> String {
        match &self.id {
            Some(id) => format!("key {id}"),
            None => "api".to_owned(),
        }
    }

    /// Keeps apart what different callers call the same.
    pub(crate) fn own(&self, name: &str) -> String {
        format!("{}/{name}", self.id.as_deref().unwrap_or_default())
    }
}

/// A caller who may see jobs and what can be run.
#[derive(Debug)]
pub(crate) struct Reader;

/// A caller who may submit, cancel and retry jobs.
#[derive(Debug)]
pub(crate) struct Writer(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        caller(parts)?.may(Scope::JobsRead)?;
        Ok(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = caller(parts)?;
        caller.may(Scope::JobsWrite)?;
        Ok(Self(caller))
    }
}

/// Who was let in; nobody gets here otherwise.
fn caller(parts: &Parts) -> Result<Caller, Problem> {
    let caller = parts.extensions.get::<Caller>().cloned();
    caller.ok_or_else(|| Problem::internal("a route of the API is outside of its gate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "00112233445566778899aabbccddeeff";
    const TWO: &str = "ffeeddccbbaa99887766554433221100";

    #[test]
    fn a_key_is_known_by_its_secret_and_has_its_scopes() {
        let keys = ApiKeys::parse(&format!("ci:{ONE}, eye:{TWO}=jobs:read")).unwrap();
        let ci = keys.authenticate(Some(ONE.as_bytes())).unwrap();
        assert_eq!(ci.name(), "key ci");
        assert!(ci.may(Scope::JobsWrite).is_ok());
        let eye = keys.authenticate(Some(TWO.as_bytes())).unwrap();
        assert!(eye.may(Scope::JobsRead).is_ok());
        assert!(eye.may(Scope::JobsWrite).is_err());
        assert!(keys.authenticate(Some(b"else")).is_err());
        assert!(keys.authenticate(None).is_err());
    }

    #[test]
    fn keys_that_cannot_be_meant_are_refused_without_being_shown() {
        for bad in [
            "nothing".to_owned(),
            format!(":{ONE}"),
            "ci:0011".to_owned(),
            format!("ci:{ONE}x"),
            format!("ci:{ONE}=jobs"),
            format!("ci:{ONE},ci:{TWO}"),
        ] {
            let error = ApiKeys::parse(&bad).unwrap_err();
            assert!(!error.contains(ONE) && !error.contains("0011"), "{error}");
        }
    }

    #[test]
    fn without_keys_everybody_may_do_everything() {
        let keys = ApiKeys::parse("").unwrap();
        assert!(keys.is_empty());
        assert!(keys.authenticate(None).unwrap().may(Scope::Admin).is_ok());
    }
}
