//! A Synchronize that comes in parts.

use super::{
    ProtocolError,
    view::{State, View},
};

/// The most that is collected, in encoded bytes: some 80,000 containers.
const MAX_TOTAL: usize = 64 * 1024 * 1024;

/// What came so far.
#[derive(Debug)]
pub(super) struct Parts<Pod: View, Container: View> {
    state: State<Pod, Container>,
    total: usize,
}

impl<Pod: View, Container: View> Default for Parts<Pod, Container> {
    fn default() -> Self {
        Self { state: State::default(), total: 0 }
    }
}

impl<Pod: View, Container: View> Parts<Pod, Container> {
    /// Takes one part of `encoded` bytes. Gives back the whole state after the last one.
    pub(super) fn add(
        &mut self,
        part: State<Pod, Container>,
        encoded: usize,
    ) -> Result<Option<State<Pod, Container>>, ProtocolError> {
        self.total += encoded;
        if self.total > MAX_TOTAL {
            return Err(ProtocolError::SynchronizeTooLarge(MAX_TOTAL));
        }
        let more = part.more;
        // The first part is moved: in an older NRI it is the whole.
        if self.state == State::default() {
            self.state = part;
        } else {
            self.state.pods.extend(part.pods);
            self.state.containers.extend(part.containers);
        }
        self.state.more = false;
        if more {
            return Ok(None);
        }
        Ok(Some(std::mem::take(self).state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Container, PodSandbox};

    fn part(ids: &[&str], more: bool) -> State<PodSandbox, Container> {
        let containers =
            ids.iter().map(|id| Container { id: (*id).into(), ..Container::default() }).collect();
        State { containers, more, ..State::default() }
    }

    #[test]
    fn parts_become_one_state() {
        let mut parts = Parts::default();
        assert_eq!(parts.add(part(&["a", "b"], true), 9).unwrap(), None);
        assert_eq!(parts.add(part(&[], true), 9).unwrap(), None);
        let State { pods, containers, .. } = parts.add(part(&["c"], false), 9).unwrap().unwrap();
        assert!(pods.is_empty());
        assert_eq!(containers.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        // The next Synchronize starts anew.
        let State { containers, .. } = parts.add(part(&["d"], false), 9).unwrap().unwrap();
        assert_eq!(containers.len(), 1);
    }

    #[test]
    fn whole_is_bounded() {
        let mut parts = Parts::default();
        for _ in 0..4 {
            parts.add(part(&[], true), MAX_TOTAL / 4).unwrap();
        }
        assert_eq!(parts.add(part(&[], false), 1), Err(ProtocolError::SynchronizeTooLarge(MAX_TOTAL)));
    }
}
