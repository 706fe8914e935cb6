//! What goes back to the runtime for one call.

use prost::Message;

use super::{
    Code, Status,
    api::{
        ConfigureResponse, CreateContainerResponse, StopContainerResponse, SynchronizeResponse,
        UpdateContainerResponse, ValidateContainerAdjustmentResponse,
    },
    ttrpc,
};

/// A successful answer. The messages without a field are all [`Answer::Empty`].
// Boxes of this size are slower to allocate than to move.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(super) enum Answer {
    Empty,
    Configure(ConfigureResponse),
    Synchronize(SynchronizeResponse),
    CreateContainer(CreateContainerResponse),
    UpdateContainer(UpdateContainerResponse),
    StopContainer(StopContainerResponse),
    Validate(ValidateContainerAdjustmentResponse),
}

impl Answer {
    /// Appends the answer, or the failure, to `out`, ready to be written to the socket.
    pub(super) fn put(result: &Result<Self, Status>, stream: u32, out: &mut Vec<u8>) {
        let put = match result {
            Err(status) => return ttrpc::put_failure(out, stream, status),
            Ok(Self::Empty) => ttrpc::put_answer(out, stream, 0, |_| ()),
            Ok(Self::Configure(message)) => put_message(out, stream, message),
            Ok(Self::Synchronize(message)) => put_message(out, stream, message),
            Ok(Self::CreateContainer(message)) => put_message(out, stream, message),
            Ok(Self::UpdateContainer(message)) => put_message(out, stream, message),
            Ok(Self::StopContainer(message)) => put_message(out, stream, message),
            Ok(Self::Validate(message)) => put_message(out, stream, message),
        };
        if let Err(len) = put {
            let text = format!("the plugin's answer of {len} bytes is more than a runtime accepts");
            ttrpc::put_failure(out, stream, &Status::new(Code::ResourceExhausted, &text));
        }
    }
}

fn put_message(out: &mut Vec<u8>, stream: u32, message: &impl Message) -> Result<(), usize> {
    // A Vec takes all that is encoded into it, so there is no error to hand on.
    ttrpc::put_answer(out, stream, message.encoded_len(), |out| message.encode_raw(out))
}
