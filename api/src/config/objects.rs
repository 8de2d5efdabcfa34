use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use telecine_engine::objects::ObjectStores as _;
use telecine_object_stores::{S3Credentials, S3Options, Stores};

use super::Reader;

/// What an address of S3 begins with.
pub(crate) const S3: &str = "s3://";

/// The longest file that holds a secret.
const SECRET_FILE_BYTES: u64 = 64 * 1024;

/// How S3 is reached for one role. Neither role is inferred from the other.
#[derive(Debug)]
struct Role {
    endpoint: &'static str,
    region: &'static str,
    access_key: &'static str,
    secret_key: &'static str,
}

const SOURCE: Role = Role {
    endpoint: "source_s3_endpoint",
    region: "source_s3_region",
    access_key: "source_s3_access_key",
    secret_key: "source_s3_secret_key",
};

const MEDIA: Role = Role {
    endpoint: "media_s3_endpoint",
    region: "media_s3_region",
    access_key: "media_s3_access_key",
    secret_key: "media_s3_secret_key",
};

/// The stores, reached as the settings say.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Stores> {
    let source = SOURCE.read(reader);
    let media = MEDIA.read(reader);
    Some(Stores::new(source?, media?))
}

impl Role {
    fn read(&self, reader: &mut Reader<'_>) -> Option<S3Options> {
        let endpoint = reader.read(self.endpoint, String::new, endpoint);
        let region = reader.read(self.region, String::new, some);
        let access_key = reader.read(self.access_key, String::new, some);
        let secret_key = reader.read(self.secret_key, String::new, some);
        let credentials = match (access_key?, secret_key?) {
            (Some(access_key), Some(secret_key)) => Some(S3Credentials {
                access_key,
                secret_key,
            }),
            (None, None) => None,
            (there, _) => {
                let (there, missing) = match there {
                    Some(_) => (self.access_key, self.secret_key),
                    None => (self.secret_key, self.access_key),
                };
                let why = format!("{there} is set without {missing}: set both or none");
                reader.errors.push(why);
                None
            }
        };
        Some(S3Options {
            endpoint: endpoint?,
            region: region?,
            credentials,
        })
    }
}

/// The address of a store; none for an empty one.
pub(super) fn store_url(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let opened = Stores::default().open_source(text);
    opened.map_err(|error| error.to_string())?;
    Ok(Some(text.to_owned()))
}

fn some(text: &str) -> Result<Option<String>, String> {
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

fn endpoint(text: &str) -> Result<Option<String>, String> {
    let after = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match after {
        None if text.is_empty() => Ok(None),
        Some(host) if !host.is_empty() && !host.contains(['@', '?', '#']) => {
            Ok(Some(text.to_owned()))
        }
        _ => {
            Err("it is no address such as https://s3.example.com, without a user in it".to_owned())
        }
    }
}

/// The first line of a file that holds a secret.
pub(super) fn secret(path: &Path) -> Result<String, String> {
    let name = path.display();
    let mut text = String::new();
    let file = File::open(path).map_err(|e| format!("cannot read {name}: {e}"))?;
    file.take(SECRET_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(|e| format!("cannot read {name}: {e}"))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(format!("{name} holds nothing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_stores_are_checked() {
        for good in ["file:///media", "s3://media", "s3://media/of/ours"] {
            assert_eq!(store_url(good).unwrap().as_deref(), Some(good));
        }
        assert_eq!(store_url("").unwrap(), None);
        for bad in ["media", "s3://", "ftp://media", "file://relative"] {
            assert!(store_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn endpoints_are_checked() {
        for good in ["http://127.0.0.1:9000", "https://s3.example.com"] {
            assert_eq!(endpoint(good).unwrap().as_deref(), Some(good));
        }
        for bad in ["127.0.0.1:9000", "http://", "http://user:secret@host"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
