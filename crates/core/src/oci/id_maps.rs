//! `linux.uidMappings` and `linux.gidMappings` of a spec (OCI runtime-spec, "User namespace mappings").

use serde::Deserialize;

use super::{OciError, object, root};

const LINUX: &str = "linux";
const UID_MAPPINGS: &str = "uidMappings";
const GID_MAPPINGS: &str = "gidMappings";

/// A range of ids: `size` of them from `container` on are those from `host` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct IdRange {
    /// The first id in the container.
    #[serde(rename = "containerID")]
    pub container: u32,
    /// The first id outside of it.
    #[serde(rename = "hostID")]
    pub host: u32,
    /// How many ids.
    pub size: u32,
}

/// How a container's ids are mapped to the machine's. Empty without a user namespace of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// User ids.
    pub uids: Vec<IdRange>,
    /// Group ids.
    pub gids: Vec<IdRange>,
}

impl IdRange {
    /// The container's id for an id of the machine that is in this range.
    #[must_use]
    pub fn to_container(&self, host: u32) -> Option<u32> {
        self.container.checked_add(host.checked_sub(self.host).filter(|offset| *offset < self.size)?)
    }

    /// The machine's id for an id of the container that is in this range.
    #[must_use]
    pub fn to_host(&self, container: u32) -> Option<u32> {
        self.host.checked_add(container.checked_sub(self.container).filter(|offset| *offset < self.size)?)
    }
}

/// Reads the mappings of a spec.
///
/// # Errors
/// Like [`super::read_annotations`].
pub fn read_id_maps(json: &[u8]) -> Result<IdMaps, OciError> {
    let root = root(json)?;
    let Some(raw) = root.get(LINUX)? else { return Ok(IdMaps::default()) };
    let linux = object(LINUX, raw)?;
    let ranges = |name, field| match linux.get(name)? {
        Some(raw) => serde_json::from_str(raw).map_err(|_| OciError::BadValue { field }),
        None => Ok(Vec::new()),
    };
    Ok(IdMaps {
        uids: ranges(UID_MAPPINGS, "linux.uidMappings")?,
        gids: ranges(GID_MAPPINGS, "linux.gidMappings")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_translate() {
        let spec = br#"{"linux":{"gidMappings":[{"containerID":0,"hostID":100000,"size":65536}]}}"#;
        let maps = read_id_maps(spec).unwrap();
        assert_eq!(maps.uids, []);
        let [range] = maps.gids[..] else { panic!("one range") };
        assert_eq!(range.to_container(150_000), Some(50_000));
        assert_eq!(range.to_container(99_999), None);
        assert_eq!(range.to_container(165_536), None);
        assert_eq!(range.to_host(50_000), Some(150_000));
        assert_eq!(range.to_host(65_536), None);
        assert_eq!(IdRange { container: u32::MAX, host: 0, size: 2 }.to_container(1), None);
    }

    #[test]
    fn no_mappings_are_none() {
        for spec in ["{}", r#"{"linux":null}"#, r#"{"linux":{}}"#, r#"{"linux":{"uidMappings":null}}"#] {
            assert_eq!(read_id_maps(spec.as_bytes()), Ok(IdMaps::default()), "{spec}");
        }
        for wrong in
            [r#"{"linux":7}"#, r#"{"linux":{"gidMappings":[{}]}}"#, r#"{"linux":{"uidMappings":[-1]}}"#]
        {
            assert!(read_id_maps(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
