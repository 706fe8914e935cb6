//! What a fuzz target needs of the wire: bytes of a runtime in, bytes of a plugin out.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed assertion is the result")]

use std::sync::Arc;

use prost::Message;

use super::{
    BoxError, Error, Events, Plugin, ProtocolError, RuntimeInfo, RuntimeService,
    api::{ConfigureRequest, Container, PodSandbox},
    connection::Input,
    mux::{self, Connection, Decoder},
    request::Request,
    session::Session,
    ttrpc::{self, Deframer, Header, wire},
};

/// What came on each connection: whole messages in their order, and how it ended.
type Messages = (Vec<(Connection, Header, Vec<u8>)>, Result<bool, ProtocolError>);

/// Wants every event and does nothing.
struct Idle;

impl Plugin for Idle {
    type Pod = PodSandbox;
    type Container = Container;

    fn events(&self) -> Events {
        Events::ALL
    }

    async fn configure(&self, _: &RuntimeInfo) -> Result<(), BoxError> {
        Ok(())
    }
}

/// The stream of a runtime: however it is cut, the messages and the answers are the same, and the messages are those
/// of a reader that is too simple to be wrong.
///
/// The first byte is the number of cuts (16 at most), the next ones the lengths of the pieces (again and again), the
/// rest is the stream.
pub fn stream(data: &[u8]) {
    let Some((&cuts, rest)) = data.split_first() else { return };
    let Some((lengths, bytes)) = rest.split_at_checked(usize::from(cuts % 17)) else { return };
    let pieces = pieces(bytes, lengths);

    let whole = messages(&[bytes]);
    assert_eq!(messages(&pieces), whole);
    if let (messages, Ok(true)) = &whole {
        assert_eq!(Some(messages), simple(bytes).as_ref());
    }
    for (_, _, payload) in &whole.0 {
        if let (Some(ours), Ok(theirs)) = (Request::parse(payload), wire::Request::decode(&**payload)) {
            assert_eq!((ours.service, ours.method), (&*theirs.service, &*theirs.method));
            assert_eq!(ours.payload, theirs.payload);
        }
    }
    assert_eq!(answers(&pieces), answers(&[bytes]));
}

fn pieces<'a>(mut bytes: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((1 + usize::from(*length)).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

fn messages(pieces: &[&[u8]]) -> Messages {
    let mut got = Vec::new();
    let end = receive(pieces, &mut got);
    (got, end)
}

fn receive(pieces: &[&[u8]], got: &mut Vec<(Connection, Header, Vec<u8>)>) -> Result<bool, ProtocolError> {
    let mut frames = Decoder::default();
    let mut deframers = [Deframer::default(), Deframer::default()];
    for piece in pieces {
        let mut input = *piece;
        while let Some((connection, payload)) = frames.next(&mut input)? {
            deframers[usize::from(connection == Connection::Runtime)].push::<ProtocolError>(
                payload,
                |header, payload| {
                    got.push((connection, header, payload.to_vec()));
                    Ok(())
                },
            )?;
        }
        assert!(input.is_empty());
    }
    Ok(frames.is_between_frames() && deframers.iter().all(Deframer::is_between_messages))
}

/// The messages of a stream that is complete, by the shortest way. Those that end in the same frame stand together,
/// as the decoder gives them.
fn simple(mut bytes: &[u8]) -> Option<Vec<(Connection, Header, Vec<u8>)>> {
    let mut waiting = [Vec::new(), Vec::new()];
    let mut got = Vec::new();
    while !bytes.is_empty() {
        let (header, rest) = bytes.split_first_chunk::<{ mux::HEADER_LEN }>()?;
        let connection = match header[3] {
            1 => Connection::Plugin,
            _ => Connection::Runtime,
        };
        let len = u32::from_be_bytes(*header.last_chunk()?) as usize;
        let (payload, rest) = rest.split_at_checked(len)?;
        bytes = rest;
        let waiting = &mut waiting[usize::from(connection == Connection::Runtime)];
        waiting.extend_from_slice(payload);
        while let Some((header, rest)) = waiting.split_first_chunk::<10>() {
            let len = u32::from_be_bytes(*header.first_chunk()?);
            let Some((payload, rest)) = rest.split_at_checked(len as usize) else { break };
            let stream = u32::from_be_bytes(*header[4..].first_chunk()?);
            got.push((connection, Header { len, stream, kind: header[8] }, payload.to_vec()));
            *waiting = rest.to_vec();
        }
    }
    Some(got)
}

/// What a plugin that does nothing writes, and how the conversation ends.
fn answers(pieces: &[&[u8]]) -> (Vec<u8>, String) {
    let mut session = Session::new(Arc::new(Idle), Idle.events(), RuntimeService::new().0);
    let mut input = Input::default();
    let end = pieces.iter().try_for_each(|piece| input.take(piece, &mut session));
    let end = end.err().unwrap_or_else(|| input.end());
    assert!(session.running.is_empty(), "a plugin that does nothing is done at once");
    (session.out, format!("{end:?}"))
}

/// Puts one ttrpc `Request` to `plugin`, on a new connection to a runtime that calls itself `runtime`.
///
/// # Errors
/// The message of the status, where the answer is one.
pub fn ask<P: Plugin>(plugin: &Arc<P>, runtime: &str, request: &[u8]) -> Result<Vec<u8>, String> {
    let configure = ConfigureRequest { runtime_name: runtime.to_owned(), ..ConfigureRequest::default() };
    let mut session = Session::new(Arc::clone(plugin), Events::CREATE_CONTAINER, RuntimeService::new().0);
    call(&mut session, 1, &self::request("Configure", configure.encode_to_vec())).unwrap();
    session.out.clear();
    call(&mut session, 3, request).unwrap();
    assert!(session.running.is_empty(), "the answer waits for nothing");

    let (mut answers, end) = messages(&[&session.out]);
    assert_eq!(end, Ok(true));
    let (connection, Header { stream, kind, .. }, payload) = answers.pop().unwrap();
    assert_eq!((connection, stream, kind), (Connection::Plugin, 3, ttrpc::RESPONSE));
    assert!(answers.is_empty(), "one answer");
    let response = wire::Response::decode(&*payload).unwrap();
    match response.status.filter(|status| status.code != 0) {
        Some(status) => Err(status.message),
        None => Ok(response.payload),
    }
}

fn call<P: Plugin>(session: &mut Session<P>, stream: u32, request: &[u8]) -> Result<(), Error> {
    let len = u32::try_from(request.len()).unwrap();
    session.receive(Connection::Plugin, Header { len, stream, kind: ttrpc::REQUEST }, request)
}

/// A ttrpc `Request` of the service Plugin.
#[must_use]
pub fn request(method: &str, payload: Vec<u8>) -> Vec<u8> {
    let service = "nri.pkg.api.v1alpha1.Plugin".to_owned();
    wire::Request { service, method: method.to_owned(), payload, ..wire::Request::default() }.encode_to_vec()
}

/// The method and the payload of a ttrpc `Request`, read by the generated code.
#[must_use]
pub fn parts(request: &[u8]) -> Option<(String, Vec<u8>)> {
    let request = wire::Request::decode(request).ok()?;
    (request.service == "nri.pkg.api.v1alpha1.Plugin").then_some((request.method, request.payload))
}
