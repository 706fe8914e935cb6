//! The bodies of the fuzz targets `cri`, messages of the CRI against another reader of them, and `cri_frames`.

use bytes::Bytes;
use prost::Message;

use super::{
    edit::{container, sandbox, status, user},
    wire,
};
use crate::runtimes::cri::{Info, PROXY, has_strict, v1};
use strict_groups_core::{
    fuzzing::presentable,
    policy::{ANNOTATION, Facts, NodePolicy, Policy},
};
use uds_grpc::frame::{self, FrameError, Frames};

/// The largest message that is taken of a body of `cri_frames`, in bytes.
const LARGEST_MESSAGE: usize = 1024;

/// `supplementalGroupsPolicy: Strict`
const STRICT: i32 = 1;

/// The first byte says which message the others are: a request to make a sandbox or a container, or the answer to a
/// request for the runtime's or a container's status.
///
/// - What any reader takes for a Strict pod gets the annotation or is refused; what it takes for a Merge one stays.
/// - A Strict container is seen as one, with the sandbox and the names that another reader finds.
/// - An edited answer differs in nothing else that is known.
pub(crate) fn message(data: &[u8]) {
    let Some((kind, message)) = data.split_first() else { return };
    match kind % 4 {
        0 => sandbox(message),
        1 => container(message),
        2 => runtime_status(message),
        _ => container_status(message),
    }
}

/// Cut anywhere, a body has the same messages and the same error, and what came out is what went in.
///
/// The first byte is the size of the pieces, the rest is the body.
pub(crate) fn frames(data: &[u8]) {
    let Some((size, body)) = data.split_first() else { return };
    let read = |size: usize| {
        let mut frames = Frames::new(LARGEST_MESSAGE);
        let mut found = Vec::new();
        for piece in body.chunks(size.max(1)) {
            frames.push(Bytes::copy_from_slice(piece));
            loop {
                match frames.next() {
                    Ok(Some(message)) => found.push(message),
                    Ok(None) => break,
                    Err(error) => return (found, Some(error)),
                }
            }
        }
        (found, None)
    };
    let (found, error) = read(body.len());
    assert_eq!(read(usize::from(*size)), (found.clone(), error));
    let again: Vec<u8> = found.iter().flat_map(|message| frame::frame(message)).collect();
    let rest = body.strip_prefix(&*again);
    assert!(rest.is_some(), "other messages than came: {found:?}");
    let only = frame::only(Bytes::copy_from_slice(body), LARGEST_MESSAGE);
    match (&*found, error, rest) {
        ([message], None, Some([])) => assert_eq!(only.as_ref(), Ok(message)),
        ([], Some(error), _) => assert_eq!(only, Err(error)),
        _ => assert_eq!(only, Err(FrameError::NotOne)),
    }
}

/// Whether prost can be trusted with the message: where a map should stand, it takes a number for the length of an entry.
fn is_plain(message: &[u8], maps: &[&[u32]]) -> bool {
    maps.iter().all(|path| wire::map(message, path).is_ok())
}

fn sandbox(message: &[u8]) {
    let result = sandbox::annotate(message);
    if let Err(refused) = &result {
        presentable(refused);
    }
    if !is_plain(message, &[&[1, 6], &[1, 7]]) {
        return;
    }
    let Ok(old) = v1::RunPodSandboxRequest::decode(message) else { return };
    let config = old.config.clone().unwrap_or_default();
    let security = config.linux.and_then(|linux| linux.security_context).unwrap_or_default();
    match result {
        Ok(None) => assert_ne!(security.supplemental_groups_policy, STRICT, "Strict without a decision"),
        Ok(Some(new)) => {
            assert_eq!(security.supplemental_groups_policy, STRICT, "a decision that nobody asked for");
            let mut new = v1::RunPodSandboxRequest::decode(new.as_slice()).unwrap();
            let annotations = &mut new.config.as_mut().unwrap().annotations;
            let facts = Facts {
                annotations: &*annotations,
                container: "app",
                namespace: None,
                labels: None,
                field: None,
            };
            let decision = NodePolicy::default().decide(&facts);
            // An unknown key of the pod's own may still make it an error, which the plugin tells.
            assert!(
                decision.is_ok_and(|decision| decision.policy == Policy::Strict) || has_odd_key(annotations)
            );
            annotations.remove(&format!("{ANNOTATION}/pod"));
            let mut old = old;
            old.config.get_or_insert_default().annotations.remove(&format!("{ANNOTATION}/pod"));
            assert_eq!(new, old);
        }
        Err(_) => {}
    }
}

fn has_odd_key(annotations: &std::collections::BTreeMap<String, String>) -> bool {
    annotations.keys().any(|key| key.starts_with(ANNOTATION) && key != ANNOTATION)
}

fn container(message: &[u8]) {
    let result = container::read(message);
    if let Err(refused) = &result {
        presentable(refused);
    }
    if !is_plain(message, &[&[2, 9], &[2, 10], &[3, 6], &[3, 7]]) {
        return;
    }
    let Ok(request) = v1::CreateContainerRequest::decode(message) else { return };
    let config = request.config.unwrap_or_default();
    let security = config.linux.and_then(|linux| linux.security_context).unwrap_or_default();
    let pod = request.sandbox_config.unwrap_or_default();
    let sandbox = pod.linux.and_then(|linux| linux.security_context).unwrap_or_default();
    let is_strict =
        [security.supplemental_groups_policy, sandbox.supplemental_groups_policy].contains(&STRICT);
    match result {
        Ok(None) => assert!(!is_strict, "a Strict container was not seen"),
        Ok(Some(strict)) => {
            assert!(is_strict);
            assert_eq!(strict.container, config.metadata.clone().unwrap_or_default().name);
        }
        Err(_) => return,
    }
    let Ok(handed_on) = container::to_hand_on(message, is_strict) else { return };
    let metadata = config.metadata.unwrap_or_default();
    assert_eq!((handed_on.container, handed_on.attempt), (metadata.name, metadata.attempt));
    assert_eq!(handed_on.sandbox, request.pod_sandbox_id);
    assert_eq!(handed_on.pod_uid, pod.metadata.unwrap_or_default().uid);
    let gid = |&group: &i64| u32::try_from(group).ok().filter(|gid| *gid != u32::MAX);
    assert_eq!(handed_on.groups, security.supplemental_groups.iter().map(gid).collect::<Option<Vec<u32>>>());
}

fn runtime_status(message: &[u8]) {
    if !is_plain(message, &[&[2]]) {
        return;
    }
    let (Ok(old), Ok(new)) = (v1::StatusResponse::decode(message), status::through_proxy(message, true))
    else {
        return;
    };
    let mut new = v1::StatusResponse::decode(new.as_slice()).unwrap();
    assert!(has_strict(&new));
    new.features.clone_from(&old.features);
    new.info.remove(PROXY);
    assert_eq!(new, old);
}

fn container_status(message: &[u8]) {
    // None of these may do more than refuse.
    let _ = (user::without_user(message, 3), user::with_users(message, 5, &[]), user::id_of_started(message));
    if !is_plain(message, &[&[2]]) {
        return;
    }
    let Ok(old) = v1::ContainerStatusResponse::decode(message) else { return };
    let Ok(user) = user::of_response(message) else { return };
    for keep_info in [false, true] {
        let Ok(new) = user::answer(message, user.as_ref(), keep_info) else { return };
        let mut new = v1::ContainerStatusResponse::decode(new.as_slice()).unwrap();
        if let (Some(old), Some(new)) = (&old.status, new.status.as_mut()) {
            if old.user.is_some() {
                assert_eq!(new.user, old.user, "the runtime's own word was changed");
            }
            new.user.clone_from(&old.user);
        }
        assert!(keep_info || !new.info.contains_key(Info::KEY));
        new.info.clone_from(&old.info);
        assert_eq!(new, old);
    }
}
