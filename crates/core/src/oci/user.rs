//! `process.user` of a spec.

use super::{OciError, ProcessUser, object};
use crate::json::{self, Object};

const USER: &str = "user";
const UID: &str = "uid";
const GID: &str = "gid";
const ADDITIONAL_GIDS: &str = "additionalGids";

/// The user of a spec's process: its values, and the object to change them in.
pub struct User<'a> {
    pub values: ProcessUser,
    object: Option<Object<'a>>,
}

impl<'a> User<'a> {
    /// Reads the user. A missing one is root, as in Go, where the field is no pointer.
    ///
    /// # Errors
    /// It is not what the OCI runtime specification says, or ambiguous.
    pub fn read(process: &Object<'a>) -> Result<Self, OciError> {
        let Some(raw) = process.get(USER)? else {
            return Ok(Self { values: ProcessUser::default(), object: None });
        };
        let user = object("process.user", raw)?;
        user.distinct()?;
        let values = ProcessUser {
            uid: id(&user, UID, "process.user.uid")?,
            gid: id(&user, GID, "process.user.gid")?,
            additional_gids: ids(&user)?,
        };
        Ok(Self { values, object: Some(user) })
    }

    /// The text of `process` with other supplementary groups.
    #[must_use]
    pub fn with_groups(&self, process: &Object<'a>, groups: &[u32]) -> String {
        let groups = json::array(groups);
        let user = match &self.object {
            Some(user) => user.with(&[(ADDITIONAL_GIDS, &groups)]),
            None => format!(r#"{{"{UID}":0,"{GID}":0,"{ADDITIONAL_GIDS}":{groups}}}"#),
        };
        process.with(&[(USER, &user)])
    }
}

/// A uid or gid; 0 where there is none. Null is nothing that a runtime writes, so it is refused.
fn id(user: &Object<'_>, name: &str, field: &'static str) -> Result<u32, OciError> {
    match user.get(name)? {
        // The text is a JSON value already, so what Rust alone would take (+1, 01) cannot stand here.
        Some(raw) => raw.parse().map_err(|_| OciError::BadValue { field }),
        None if user.keys().any(|key| key == name) => Err(OciError::BadValue { field }),
        None => Ok(0),
    }
}

fn ids(user: &Object<'_>) -> Result<Vec<u32>, OciError> {
    match user.get(ADDITIONAL_GIDS)? {
        Some(raw) => {
            serde_json::from_str(raw).map_err(|_| OciError::BadValue { field: "process.user.additionalGids" })
        }
        None => Ok(Vec::new()),
    }
}
