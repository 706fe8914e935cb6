//! One of each message.

use std::{io, path::PathBuf, time::Duration};

use super::{detail, every};
use crate::{cri_proxy, plugin, runtimes::containerd::ContainerdError};
use container_start::hook::{HookError, InputError};
use container_start::{
    config::ConfigError,
    group_file::GroupFileError,
    record::RecordError,
    start_check::StartError,
    static_gate::{StaticCause, StaticGateError, StaticRefusal},
    wrapper::{Fault, HandlerError, Subject, UnderlyingError, WrapperError},
};
use hostfs::{identity::IdentityError, ownership::Untrusted};
use strict_groups_core::{
    declared::DeclaredError,
    gate::{Cause, GateError, Refusal},
    groups::Alias,
    oci::OciError,
    policy::{Policy, PolicyError},
    spec::SpecError,
};
use uds_grpc::Code;

pub(crate) const POD: &str = "NAMESPACE/POD";
pub(crate) const CONTAINER: &str = "NAME";

fn file() -> PathBuf {
    "/FILE".into()
}

fn why() -> io::Error {
    io::Error::other("WHY")
}

fn texts<T: ToString>(samples: &[T]) -> impl Iterator<Item = String> + '_ {
    samples.iter().map(ToString::to_string)
}

/// All of them.
pub(super) fn all() -> Vec<String> {
    let mut all = plugin::messages::all();
    all.extend(texts(&policy()));
    all.extend(texts(&gate_arguments()));
    all.extend(texts(&spec()));
    all.extend(texts(&oci()));
    all.extend(texts(&declared()));
    all.extend(texts(&static_arguments()));
    all.extend(refusals());
    all.extend(texts(&group_file()));
    all.extend(static_refusals());
    all.extend(configuration());
    all.extend(hook());
    all.extend(runtime());
    all.extend(cri_proxy::messages::all());
    all
}

pub(crate) fn policy() -> Vec<PolicyError> {
    let (key, shown) = ("KEY".to_owned(), "\"VALUE\"".to_owned());
    every!(PolicyError;
        PolicyError::BadValue { .. } => PolicyError::BadValue { key: key.clone(), shown: shown.clone() },
        PolicyError::UnknownKey { .. } => PolicyError::UnknownKey { key: key.clone() },
        PolicyError::MergeForbidden { .. } => PolicyError::MergeForbidden { key: key.clone() },
        PolicyError::BadSpec { .. } => PolicyError::BadSpec { shown },
        PolicyError::Contradiction { .. } => {
            PolicyError::Contradiction { key, annotation: Policy::Strict, spec: Policy::Merge }
        },
        PolicyError::SpecMergeForbidden => PolicyError::SpecMergeForbidden,
        PolicyError::DependsOnLabels => PolicyError::DependsOnLabels,
    )
}

pub(crate) fn containerd() -> Vec<String> {
    let (socket, reason) = (PathBuf::from("/SOCKET"), "WHY".to_owned());
    let samples = every!(ContainerdError;
        ContainerdError::Unreachable { .. } => {
            ContainerdError::Unreachable { socket: socket.clone(), reason: reason.clone() }
        },
        ContainerdError::NotTrusted { .. } => ContainerdError::NotTrusted { reason: "DETAIL".to_owned() },
        ContainerdError::TimedOut { .. } => {
            ContainerdError::TimedOut { socket: socket.clone(), limit: Duration::from_millis(700) }
        },
        ContainerdError::Unknown { .. } => ContainerdError::Unknown { socket: socket.clone(), id: "ID".to_owned() },
        ContainerdError::NoUsableAnswer { .. } => {
            ContainerdError::NoUsableAnswer { socket: socket.clone(), reason: reason.clone() }
        },
        ContainerdError::NotSent { .. } => {
            ContainerdError::NotSent { socket: socket.clone(), reason: reason.clone() }
        },
        ContainerdError::Refused { .. } => {
            ContainerdError::Refused { socket, code: Code::Unavailable, message: reason }
        },
    );
    texts(&samples).collect()
}

fn gate_arguments() -> Vec<GateError> {
    every!(GateError;
        GateError::Unknown { .. } => GateError::Unknown { arg: "ARGUMENT".to_owned() },
        GateError::Repeated { .. } => GateError::Repeated { flag: "--FLAG" },
        GateError::Misplaced { .. } => GateError::Misplaced { flag: "--FLAG", state: "STATE" },
        GateError::Missing { .. } => GateError::Missing { flag: "--FLAG" },
        GateError::TooMany { .. } => GateError::TooMany { flag: "--FLAG" },
        GateError::BadNumber { .. } => GateError::BadNumber { flag: "--FLAG", shown: "\"VALUE\"".to_owned() },
    )
}

fn static_arguments() -> Vec<StaticGateError> {
    every!(StaticGateError;
        StaticGateError::Unknown { .. } => StaticGateError::Unknown { arg: "ARGUMENT".to_owned() },
        StaticGateError::NoRuntime => StaticGateError::NoRuntime,
    )
}

fn spec() -> Vec<SpecError> {
    every!(SpecError;
        SpecError::Oci(_) => OciError::Missing { field: "FIELD" }.into(),
        SpecError::NoGate => SpecError::NoGate,
        SpecError::Gate(_) => GateError::Missing { flag: "--FLAG" }.into(),
    )
}

fn oci() -> Vec<OciError> {
    every!(OciError;
        OciError::NotJson { .. } => OciError::NotJson { line: 1, column: 2 },
        OciError::Ambiguous { .. } => OciError::Ambiguous { key: "KEY".to_owned() },
        OciError::Missing { .. } => OciError::Missing { field: "FIELD" },
        OciError::BadValue { .. } => OciError::BadValue { field: "FIELD" },
    )
}

fn declared() -> Vec<DeclaredError> {
    every!(DeclaredError;
        DeclaredError::UnknownType { .. } => DeclaredError::UnknownType { type_url: "TYPE".to_owned() },
        DeclaredError::UnknownVersion { .. } => DeclaredError::UnknownVersion { version: "VERSION".to_owned() },
        DeclaredError::NotJson => DeclaredError::NotJson,
        DeclaredError::Ambiguous { .. } => DeclaredError::Ambiguous { key: "KEY".to_owned() },
        DeclaredError::Missing { .. } => DeclaredError::Missing { field: "FIELD" },
        DeclaredError::BadValue { .. } => DeclaredError::BadValue { field: "FIELD" },
    )
}

fn refusal(cause: Cause) -> Refusal {
    Refusal { pod: POD.to_owned(), container: CONTAINER.to_owned(), cause }
}

fn refusals() -> Vec<String> {
    let causes = every!(Cause;
        Cause::NeverEnforced => Cause::NeverEnforced,
        Cause::NoWrapper => Cause::NoWrapper,
        Cause::Failed { .. } => Cause::Failed { reason: "DETAIL".to_owned() },
        Cause::NotAllowed { .. } => Cause::NotAllowed { groups: vec![50000] },
        Cause::KeepsOriginalGroups => Cause::KeepsOriginalGroups,
        Cause::GroupFile { .. } => Cause::GroupFile { reason: "DETAIL".to_owned() },
        Cause::ExecAtRisk => Cause::ExecAtRisk,
        Cause::Restored => Cause::Restored,
        Cause::RuntimeGroups { .. } => Cause::RuntimeGroups { groups: vec![6, 7] },
        Cause::Alias(_) => Cause::Alias(Alias { name: 4000, gid: 50000 }),
    );
    causes.into_iter().map(|cause| refusal(cause).to_string()).collect()
}

fn group_file() -> Vec<GroupFileError> {
    every!(GroupFileError;
        GroupFileError::OtherMount => GroupFileError::OtherMount,
        GroupFileError::Dangling => GroupFileError::Dangling,
        GroupFileError::NotRegular => GroupFileError::NotRegular,
        GroupFileError::TooManyLinks => GroupFileError::TooManyLinks,
        GroupFileError::Io(_) => why().into(),
    )
}

fn static_causes() -> Vec<StaticCause> {
    let config = || ConfigError::Read { path: file(), source: why() };
    every!(StaticCause;
        StaticCause::NotSeen => StaticCause::NotSeen,
        StaticCause::UnknownSandbox => StaticCause::UnknownSandbox,
        StaticCause::Policy(_) => StaticCause::Policy(PolicyError::DependsOnLabels),
        StaticCause::Config(_) => StaticCause::Config(config()),
        StaticCause::NoPod => StaticCause::NoPod,
        StaticCause::Nameless { .. } => StaticCause::Nameless { key: "KEY" },
    )
}

/// What stands in the place of [`StaticCause::Config`]'s detail.
const NO_CONFIG: &str = "cannot read the configuration /FILE: WHY";

fn static_refusals() -> Vec<String> {
    let mut found = Vec::new();
    for cause in static_causes() {
        let refusals = every!(StaticRefusal;
            StaticRefusal::Gate(_) => StaticRefusal::Gate(refusal(Cause::NeverEnforced)),
            StaticRefusal::Container { .. } => {
                StaticRefusal::Container { pod: POD.to_owned(), container: CONTAINER.to_owned(), cause }
            },
        );
        found.extend(texts(&refusals).map(|text| detail(&text, NO_CONFIG)));
    }
    found
}

fn configuration() -> Vec<String> {
    let parse = toml::from_str::<toml::Table>("x").unwrap_err();
    let inner = strict_groups_core::text::one_line(&parse.to_string(), 512);
    let untrusted = Untrusted::Missing { path: file() };
    let inner_untrusted = untrusted.to_string();
    let samples = every!(ConfigError;
        ConfigError::Read { .. } => ConfigError::Read { path: file(), source: why() },
        ConfigError::NotTrusted(_) => ConfigError::NotTrusted(untrusted),
        ConfigError::Parse { .. } => ConfigError::Parse { path: file(), source: Box::new(parse) },
    );
    let texts = samples.iter().map(|error| error.one_line(512));
    texts.map(|text| detail(&detail(&text, &inner), &inner_untrusted)).collect()
}

fn hook() -> Vec<String> {
    let inputs = every!(InputError;
        InputError::State(_) => InputError::State(why()),
        InputError::Config { .. } => InputError::Config { path: file(), source: why() },
        InputError::Spec { .. } => InputError::Spec { path: file(), source: SpecError::NoGate },
        InputError::NoGate { .. } => InputError::NoGate { path: file() },
        InputError::TooSlow => InputError::TooSlow,
        InputError::TooMuchWork => InputError::TooMuchWork,
    );
    let (pod, container) = (POD.to_owned(), CONTAINER.to_owned());
    let errors = every!(HookError;
        HookError::NotAGate => HookError::NotAGate,
        HookError::Arguments(_) => HookError::Arguments(GateError::Missing { flag: "--FLAG" }),
        HookError::StaticArguments(_) => HookError::StaticArguments(StaticGateError::NoRuntime),
        HookError::StaticUnreadable(_) => HookError::StaticUnreadable(InputError::State(why())),
        HookError::StaticRefused(_) => StaticRefusal::Gate(refusal(Cause::NeverEnforced)).into(),
        HookError::Unreadable { .. } => HookError::Unreadable { pod, container, source: InputError::State(why()) },
        HookError::Refused(_) => refusal(Cause::NeverEnforced).into(),
    );
    let mut found: Vec<String> =
        texts(&inputs).map(|text| detail(&text, &SpecError::NoGate.to_string())).collect();
    let inner = [
        GateError::Missing { flag: "--FLAG" }.to_string(),
        StaticGateError::NoRuntime.to_string(),
        InputError::State(why()).to_string(),
    ];
    found.extend(texts(&errors).map(|text| inner.iter().fold(text, |text, inner| detail(&text, inner))));
    found
}

fn runtime() -> Vec<String> {
    let real = every!(UnderlyingError;
        UnderlyingError::None => UnderlyingError::None,
        UnderlyingError::Loop { .. } => UnderlyingError::Loop { path: file() },
        UnderlyingError::NotInPath { .. } => {
            UnderlyingError::NotInPath { name: "runc".into(), path_variable: "/PATH".to_owned() }
        },
        UnderlyingError::Unclear { .. } => UnderlyingError::Unclear { config: "WHY".to_owned() },
        UnderlyingError::Run { .. } => UnderlyingError::Run { path: file(), source: why() },
    );
    let faults = every!(Fault;
        Fault::Read { .. } => Fault::Read { path: file(), source: why() },
        Fault::Spec { .. } => Fault::Spec { path: file(), source: SpecError::NoGate },
        Fault::Write { .. } => Fault::Write { path: file(), source: why() },
        Fault::Image { .. } => Fault::Image { file: "etc/group", source: why() },
        Fault::RootFs { .. } => Fault::RootFs { path: file(), source: why() },
        Fault::Declared(_) => Fault::Declared(RecordError::NoSocket),
        Fault::Pod(_) => Fault::Pod(RecordError::NoSocket),
        Fault::OwnPath(_) => Fault::OwnPath(why()),
        Fault::State(_) => Fault::State(why()),
        Fault::UnknownOption { .. } => Fault::UnknownOption { option: "--OPTION".into(), verb: "SUBCOMMAND" },
        Fault::Run => Fault::Run,
        Fault::Restore => Fault::Restore,
        Fault::NotStrict => Fault::NotStrict,
        Fault::NoProcess => Fault::NoProcess,
        Fault::Start(_) => Fault::Start(StartError::NotAllowed { groups: vec![50000] }),
    );
    let starts = every!(StartError;
        StartError::NotAllowed { .. } => StartError::NotAllowed { groups: vec![50000] },
        StartError::Unreadable(_) => IdentityError::Gone { pid: 7 }.into(),
    );
    let handlers = every!(HandlerError;
        HandlerError::Read { .. } => HandlerError::Read { path: file(), source: why() },
        HandlerError::NotUnderstood { .. } => HandlerError::NotUnderstood { path: file() },
    );
    let records = every!(RecordError;
        RecordError::NoSocket => RecordError::NoSocket,
        RecordError::Failed(_) => RecordError::Failed("WHY".to_owned()),
        RecordError::Declared(_) => DeclaredError::NotJson.into(),
        RecordError::NotAsked { .. } => RecordError::NotAsked { socket: file(), source: why() },
    );
    let subjects = every!(Subject;
        Subject::Id(_) => Subject::Id("ID".to_owned()),
        Subject::Named { .. } => Subject::Named { pod: POD.to_owned(), container: CONTAINER.to_owned() },
    );
    let mut found: Vec<String> = texts(&real).collect();
    let gone = IdentityError::Gone { pid: 7 }.to_string();
    found.extend(texts(&starts).map(|text| text.replace(&gone, "WHY")));
    found.extend(texts(&handlers));
    // That of containerd, or of its record, alone is one of the other rows.
    let not_json = DeclaredError::NotJson.to_string();
    found.extend(texts(&records).filter(|text| text != "WHY").map(|text| detail(&text, &not_json)));
    let no_socket = RecordError::NoSocket.to_string();
    found.extend(
        texts(&faults).map(|text| detail(&detail(&text, &SpecError::NoGate.to_string()), &no_socket)),
    );
    for subject in subjects {
        let errors = every!(WrapperError;
            WrapperError::Underlying(_) => UnderlyingError::None.into(),
            WrapperError::Handler(_) => HandlerError::Read { path: file(), source: why() }.into(),
            WrapperError::Refused(_) => refusal(Cause::NeverEnforced).into(),
            WrapperError::Policy(_) => StaticRefusal::Gate(refusal(Cause::NeverEnforced)).into(),
            WrapperError::NoPod { .. } => WrapperError::NoPod { subject: subject.clone(), cause: StaticCause::NoPod },
            WrapperError::Fault { .. } => WrapperError::Fault { subject: subject.clone(), fault: Fault::OwnPath(why()) },
        );
        let own_path = Fault::OwnPath(why()).to_string();
        found.extend(texts(&errors).map(|text| detail(&text, &own_path)));
    }
    found
}
