//! The restricted sockets on disk, so that they outlive a restart of the daemon.
//!
//! One file, replaced as a whole. It is no part of the sealed store, because it holds no secret, and must
//! be read, and written when a socket is revoked, while the store is locked.

use std::{
    io,
    path::{Path, PathBuf},
};

use authd_store::disk::{self, RealDisk};
use serde::{Deserialize, Serialize};

use super::Terms;

/// The form that this version writes.
const FORMAT: u32 = 1;

/// Where it is.
#[derive(Clone, Debug)]
pub(super) struct Record(PathBuf);

#[derive(Serialize, Deserialize)]
struct Content {
    format: u32,
    sockets: Vec<Terms>,
}

impl Record {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("sockets.json"))
    }

    /// What is there. Nothing where there is no file; a file that is not as we write it is an error, and
    /// then no socket is opened: better none than one with other terms.
    pub(super) fn read(&self) -> io::Result<Vec<Terms>> {
        let Some(bytes) = disk::read_whole(&RealDisk, &self.0)? else {
            return Ok(Vec::new());
        };
        let content: Content = serde_json::from_slice(&bytes)?;
        let is_sound = content.format == FORMAT
            && content
                .sockets
                .iter()
                .all(|terms| is_name(&terms.name) && !terms.uids.is_empty());
        if is_sound {
            Ok(content.sockets)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is not as this version writes it",
            ))
        }
    }

    /// Replaces it, durably.
    pub(super) fn write(&self, sockets: Vec<Terms>) -> io::Result<()> {
        let content = Content {
            format: FORMAT,
            sockets,
        };
        let bytes = serde_json::to_vec(&content)?;
        disk::replace(&RealDisk, &self.0, &bytes)
    }
}

/// Whether it can be the name of a directory, and of nothing outside of ours.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._@+-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_ours_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::new(dir.path());
        assert_eq!(record.read().unwrap(), vec![]);
        record.write(Vec::new()).unwrap();
        assert_eq!(record.read().unwrap(), vec![]);
        let name = |name: &str| {
            format!(
                r#"{{"format":1,"sockets":[{{"name":"{name}","account":"work","login":{{"client":""}},
                "scopes":[],"resources":[],"uids":[0],"label":null,"ttl_secs":60,
                "created":{{"boot_id":1,"at":{{"boot":0,"wall":0}}}}}}]}}"#
            )
        };
        let put = |text: &str| {
            disk::replace(&RealDisk, &dir.path().join("sockets.json"), text.as_bytes()).unwrap();
        };
        put(&name("work-1"));
        assert_eq!(record.read().unwrap().len(), 1);
        put(&name("work-1").replace("[0]", "[]"));
        assert!(record.read().is_err(), "for nobody");
        for bad in ["../work-1", "", ".new", "a/b"] {
            put(&name(bad));
            assert!(record.read().is_err(), "{bad:?}");
        }
        for text in ["", "{", r#"{"format":2,"sockets":[]}"#] {
            put(text);
            assert!(record.read().is_err(), "{text:?}");
        }
    }
}
