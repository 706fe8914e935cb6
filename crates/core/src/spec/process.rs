//! The process of an exec: the file that a container engine gives the OCI runtime (`exec --process`),
//! which is the `process` object of a spec.

use super::{ProcessUser, SpecError, User, root};
use crate::gate::Gate;
use crate::groups;

/// What [`strict_process`] made of a process file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrictProcess {
    /// The new file. None: the old one is right already.
    pub json: Option<Vec<u8>>,
    /// The user as it was before.
    pub user: ProcessUser,
    /// The supplementary groups that the process keeps.
    pub groups: Vec<u32>,
}

/// Takes the groups that the container was not resolved to from a process that is to run in it.
/// `gates` are the container's own; each has its say, and one that knows no groups allows nothing but
/// the primary group.
///
/// # Errors
/// When the file is not understood. The process must not run then.
pub fn strict_process(json: &[u8], gates: &[Gate]) -> Result<StrictProcess, SpecError> {
    let process = root(json)?;
    process.distinct()?;
    let user = User::read(&process)?;
    let made = &user.values.additional_gids;
    let mut kept = made.clone();
    for gate in gates {
        kept = groups::strict(user.values.gid, &kept, gate.allowed()).kept;
    }
    let json = (kept != *made).then(|| user.with_groups(&process, &kept).into_bytes());
    Ok(StrictProcess { json, groups: kept, user: user.values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::State;

    const FILE: &[u8] = include_bytes!("../../../../tests/fixtures/crio-1.30.14/exec-process.json");

    fn gate(state: State) -> Gate {
        Gate { pod: "default/p1".into(), container: "c1".into(), state }
    }

    fn resolved(groups: &[u32]) -> Gate {
        gate(State::Resolved { groups: groups.to_vec(), removed: Vec::new() })
    }

    #[test]
    fn real_process_file_loses_the_images_group_and_nothing_else() {
        let strict = strict_process(FILE, &[resolved(&[3000, 4000])]).unwrap();
        assert_eq!(strict.groups, [3000, 4000]);
        let old: serde_json::Value = serde_json::from_slice(FILE).unwrap();
        let mut new: serde_json::Value = serde_json::from_slice(&strict.json.unwrap()).unwrap();
        assert_eq!(new["user"]["additionalGids"], serde_json::json!([3000, 4000]));
        new["user"]["additionalGids"] = old["user"]["additionalGids"].clone();
        assert_eq!(new, old);
    }

    #[test]
    fn what_is_right_stays() {
        let strict = strict_process(FILE, &[resolved(&[4000, 50000, 3000])]).unwrap();
        assert_eq!((strict.json, strict.groups), (None, vec![3000, 50000, 4000]));
    }

    #[test]
    fn every_gate_has_its_say() {
        let strict = strict_process(FILE, &[resolved(&[3000, 4000]), resolved(&[3000, 50000])]).unwrap();
        assert_eq!(strict.groups, [3000]);
        let strict = strict_process(FILE, &[gate(State::Pending { declared: None })]).unwrap();
        assert_eq!(strict.groups, [3000]);
        let pending = State::Pending { declared: Some(vec![4000]) };
        assert_eq!(strict_process(FILE, &[gate(pending)]).unwrap().groups, [3000, 4000]);
    }

    #[test]
    fn broken_files_are_errors() {
        for broken in ["", "{", "[]", r#"{"user":{"gid":-1}}"#, r#"{"user":{},"User":{}}"#] {
            assert!(strict_process(broken.as_bytes(), &[]).is_err(), "{broken}");
        }
    }
}
