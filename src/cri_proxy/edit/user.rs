//! `user.linux` in the status of containers, from the spec that the runtime tells with a verbose status:
//! runtimes that have the field take it from there as well.

use serde::Deserialize;

use crate::{
    cri_proxy::wire::{self, NotAMessage},
    runtimes::cri::Info,
};

/// `ContainerStatusRequest.verbose`
const VERBOSE: u32 = 2;
/// `ContainerStatusResponse.status`
const STATUS: u32 = 1;
/// `ContainerStatusResponse.info`
const INFO: u32 = 2;
/// `ContainerStatus.id`, and `ContainerStatusRequest.container_id`
const ID: u32 = 1;
/// `ContainerStatus.state`
const STATE: u32 = 3;
/// `ContainerState`
const CREATED: u64 = 0;
/// `ContainerStatus.user`
const USER: u32 = 18;
/// `ContainerUser.linux`
const LINUX: u32 = 1;

/// The user of a container's first process, in the container's own ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(in crate::cri_proxy) struct User {
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default, rename = "additionalGids")]
    groups: Vec<u32>,
}

impl User {
    /// The user in the `info` of a verbose status.
    pub(in crate::cri_proxy) fn of(info: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Spec {
            process: Process,
        }
        #[derive(Deserialize)]
        struct Process {
            user: User,
        }
        let spec: Spec = serde_json::from_str(Info::read(info)?.spec.get()).ok()?;
        Some(spec.process.user)
    }

    /// As `ContainerUser`: uid 1, gid 2, supplementary groups 3 (packed). Numbers that are 0 are left out.
    fn to_message(&self) -> Vec<u8> {
        let mut linux = Vec::new();
        for (number, id) in [(1, self.uid), (2, self.gid)] {
            if id != 0 {
                linux.extend(wire::number_field(number, id.into()));
            }
        }
        let mut packed = Vec::new();
        for group in &self.groups {
            prost::encoding::encode_varint(u64::from(*group), &mut packed);
        }
        if !packed.is_empty() {
            linux.extend(wire::bytes_field(3, &packed));
        }
        wire::bytes_field(LINUX, &linux)
    }
}

/// Whether a `ContainerStatusRequest` asks for a verbose answer.
pub(in crate::cri_proxy) fn is_verbose(request: &[u8]) -> Result<bool, NotAMessage> {
    Ok(wire::number(request, &[VERBOSE])? != 0)
}

/// The request with a verbose answer asked for.
pub(in crate::cri_proxy) fn verbose(request: &[u8]) -> Result<Vec<u8>, NotAMessage> {
    wire::append(request, &[], &wire::number_field(VERBOSE, 1))
}

/// The user that a verbose `ContainerStatusResponse` tells, in `info`.
pub(in crate::cri_proxy) fn of_response(response: &[u8]) -> Result<Option<User>, NotAMessage> {
    let info = wire::map(response, &[INFO])?.into_iter().rfind(|(key, _)| *key == Info::KEY);
    Ok(info.and_then(|(_, info)| User::of(info)))
}

/// A verbose `ContainerStatusResponse` with its `user`, from [`of_response`], in its status, unless it has one;
/// and without `info` if nobody asked for that.
pub(in crate::cri_proxy) fn answer(
    response: &[u8],
    user: Option<&User>,
    keep_info: bool,
) -> Result<Vec<u8>, NotAMessage> {
    let new = if keep_info { response.to_vec() } else { wire::without(response, INFO)? };
    match user {
        Some(user) => put(&new, user),
        None => Ok(new),
    }
}

/// A `ContainerStatusResponse` with this user in its status, unless it has one.
pub(in crate::cri_proxy) fn put(response: &[u8], user: &User) -> Result<Vec<u8>, NotAMessage> {
    let has_status = !wire::all(response, &[STATUS])?.is_empty();
    if !has_status || !wire::all(response, &[STATUS, USER])?.is_empty() {
        return Ok(response.to_vec());
    }
    wire::append(response, &[STATUS], &wire::bytes_field(USER, &user.to_message()))
}

/// The container's id in a `ContainerStatusResponse`, once its user cannot change any more: after the start.
pub(in crate::cri_proxy) fn id_of_started(response: &[u8]) -> Result<Option<&str>, NotAMessage> {
    if wire::number(response, &[STATUS, STATE])? == CREATED {
        return Ok(None);
    }
    Ok(Some(wire::text(response, &[STATUS, ID])?).filter(|id| !id.is_empty()))
}

/// The id in a `ContainerStatusRequest`.
pub(in crate::cri_proxy) fn id_of_request(request: &[u8]) -> Result<&str, NotAMessage> {
    wire::text(request, &[ID])
}

/// The ids of the containers whose statuses stand in `message` as fields `number`, and which have no user; None
/// for those that have one.
pub(in crate::cri_proxy) fn without_user(
    message: &[u8],
    number: u32,
) -> Result<Vec<Option<String>>, NotAMessage> {
    let statuses = wire::all(message, &[number])?;
    let id = |status: &[u8]| {
        let known = !wire::all(status, &[USER])?.is_empty();
        Ok((!known).then_some(wire::text(status, &[ID])?.to_owned()))
    };
    statuses.into_iter().map(id).collect()
}

/// `message` with users in the statuses that stand in it as fields `number`, in their order.
pub(in crate::cri_proxy) fn with_users(
    message: &[u8],
    number: u32,
    users: &[Option<User>],
) -> Result<Vec<u8>, NotAMessage> {
    let statuses = wire::all(message, &[number])?;
    let new: Vec<Option<Vec<u8>>> = statuses
        .iter()
        .zip(users)
        .map(|(status, user)| {
            let Some(user) = user else { return Ok(None) };
            wire::append(status, &[], &wire::bytes_field(USER, &user.to_message())).map(Some)
        })
        .collect::<Result<_, _>>()?;
    wire::replace_each(message, number, new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri_proxy::wire::{bytes_field, entry_field, number_field};

    const REAL: &str = include_str!("../../../tests/fixtures/containerd-1.7.24/container-status-info.json");

    /// As the proxy does it.
    fn answered(response: &[u8], keep_info: bool) -> Result<Vec<u8>, NotAMessage> {
        answer(response, of_response(response)?.as_ref(), keep_info)
    }

    fn response(info: &str, status: &[u8]) -> Vec<u8> {
        [bytes_field(STATUS, status), entry_field(INFO, "info", info), bytes_field(90, b"unknown")].concat()
    }

    #[test]
    fn real_containers_user_is_found_and_put_in() {
        let old = response(REAL, &[bytes_field(ID, b"c1"), number_field(3, 1)].concat());
        let new = answered(&old, false).unwrap();
        assert_eq!(wire::number(&new, &[STATUS, USER, LINUX, 1]), Ok(1000));
        assert_eq!(wire::number(&new, &[STATUS, USER, LINUX, 2]), Ok(3000));
        let groups = wire::all(&new, &[STATUS, USER, LINUX, 3]).unwrap();
        assert_eq!(groups, [&[0xb8, 0x17, 0xa0, 0x1f][..]], "3000 and 4000, packed");
        assert_eq!(wire::map(&new, &[INFO]).unwrap(), []);
        assert_eq!(wire::text(&new, &[90]), Ok("unknown"));
        assert_eq!(wire::map(&answered(&old, true).unwrap(), &[INFO]).unwrap().len(), 1);
    }

    #[test]
    fn user_that_is_there_stays_and_none_is_made_up() {
        let has = response(REAL, &bytes_field(USER, b""));
        assert_eq!(answered(&has, true), Ok(has.clone()));
        for info in ["", "{}", "[]", r#"{"runtimeSpec":{"process":{}}}"#] {
            let old = response(info, b"");
            assert_eq!(answered(&old, true), Ok(old.clone()), "{info}");
        }
        assert_eq!(answered(&[], false), Ok(vec![]), "no status, no user");
    }

    #[test]
    fn user_is_final_after_the_start() {
        let status = |state| response(REAL, &[bytes_field(ID, b"c1"), number_field(STATE, state)].concat());
        assert_eq!(id_of_started(&status(CREATED)), Ok(None));
        assert_eq!(id_of_started(&status(1)), Ok(Some("c1")));
        assert_eq!(id_of_started(&response(REAL, &number_field(STATE, 1))), Ok(None), "no id");
        let user = of_response(&status(1)).unwrap().unwrap();
        let plain = bytes_field(STATUS, &[bytes_field(ID, b"c1"), number_field(STATE, 1)].concat());
        assert_eq!(of_response(&plain), Ok(None), "no info");
        assert_eq!(wire::number(&put(&plain, &user).unwrap(), &[STATUS, USER, LINUX, 1]), Ok(1000));
        assert_eq!(id_of_request(&bytes_field(1, b"c1")), Ok("c1"));
    }

    #[test]
    fn root_has_numbers_too() {
        let root = User { uid: 0, gid: 0, groups: vec![0] };
        assert_eq!(root.to_message(), bytes_field(1, &bytes_field(3, &[0])));
    }

    #[test]
    fn several_statuses() {
        let status = |id: &[u8]| bytes_field(5, &bytes_field(ID, id));
        let known = bytes_field(5, &[bytes_field(ID, b"b"), bytes_field(USER, b"")].concat());
        let message = [status(b"a"), known, status(b"c"), number_field(2, 1)].concat();
        let ids = without_user(&message, 5).unwrap();
        assert_eq!(ids, [Some("a".to_owned()), None, Some("c".to_owned())]);
        let user = User { uid: 7, gid: 0, groups: vec![] };
        let new = with_users(&message, 5, &[Some(user), None, None]).unwrap();
        let statuses = wire::all(&new, &[5]).unwrap();
        assert_eq!(wire::number(statuses[0], &[USER, LINUX, 1]), Ok(7));
        assert_eq!(wire::all(&new, &[5]).unwrap()[1..], wire::all(&message, &[5]).unwrap()[1..]);
        assert_eq!(wire::number(&new, &[2]), Ok(1));
    }

    #[test]
    fn verbose_is_asked_for() {
        let request = bytes_field(1, b"c1");
        assert_eq!(is_verbose(&request), Ok(false));
        assert_eq!(is_verbose(&verbose(&request).unwrap()), Ok(true));
        assert_eq!(is_verbose(&verbose(&number_field(VERBOSE, 0)).unwrap()), Ok(true), "the last one wins");
    }
}
