//! A Synchronize that comes in parts.

use super::{
    ProtocolError,
    api::{Container, PodSandbox, SynchronizeRequest},
};

/// The most that is collected, in encoded bytes: some 80,000 containers.
const MAX_TOTAL: usize = 64 * 1024 * 1024;

/// Pods and containers.
#[derive(Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) pods: Vec<PodSandbox>,
    pub(super) containers: Vec<Container>,
}

/// What came so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    state: State,
    total: usize,
}

impl Parts {
    /// Takes one part of `encoded` bytes. Gives back the whole state after the last one.
    pub(super) fn add(
        &mut self,
        part: SynchronizeRequest,
        encoded: usize,
    ) -> Result<Option<State>, ProtocolError> {
        self.total += encoded;
        if self.total > MAX_TOTAL {
            return Err(ProtocolError::SynchronizeTooLarge(MAX_TOTAL));
        }
        // The first part is moved: in an older NRI it is the whole.
        if self.state == State::default() {
            self.state = State { pods: part.pods, containers: part.containers };
        } else {
            self.state.pods.extend(part.pods);
            self.state.containers.extend(part.containers);
        }
        if part.more {
            return Ok(None);
        }
        Ok(Some(std::mem::take(self).state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(ids: &[&str], more: bool) -> SynchronizeRequest {
        let containers =
            ids.iter().map(|id| Container { id: (*id).into(), ..Container::default() }).collect();
        SynchronizeRequest { containers, more, ..SynchronizeRequest::default() }
    }

    #[test]
    fn parts_become_one_state() {
        let mut parts = Parts::default();
        assert_eq!(parts.add(part(&["a", "b"], true), 9).unwrap(), None);
        assert_eq!(parts.add(part(&[], true), 9).unwrap(), None);
        let State { pods, containers } = parts.add(part(&["c"], false), 9).unwrap().unwrap();
        assert!(pods.is_empty());
        assert_eq!(containers.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        // The next Synchronize starts anew.
        let State { containers, .. } = parts.add(part(&["d"], false), 9).unwrap().unwrap();
        assert_eq!(containers.len(), 1);
    }

    #[test]
    fn the_whole_is_bounded() {
        let mut parts = Parts::default();
        for _ in 0..4 {
            parts.add(part(&[], true), MAX_TOTAL / 4).unwrap();
        }
        assert_eq!(parts.add(part(&[], false), 1), Err(ProtocolError::SynchronizeTooLarge(MAX_TOTAL)));
    }
}
