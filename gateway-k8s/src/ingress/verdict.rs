//! Verdicts: the result of translating each annotation, ConfigMap key, flag and field.

use serde::Serialize;

/// The result of translating one setting. Ordered from the best to the worst.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigrationOutcome {
    /// The gateway behaves as ingress-nginx does.
    Same,
    /// The setting is translated; some responses differ.
    SameWithADifference,
    /// The user must choose a value; until then a default is used.
    NeedsADecision,
    /// The setting cannot be translated.
    Impossible,
}

impl MigrationOutcome {
    /// All outcomes, from the best to the worst.
    pub const ALL: [Self; 4] = [
        Self::Same,
        Self::SameWithADifference,
        Self::NeedsADecision,
        Self::Impossible,
    ];

    /// Name in reports and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::SameWithADifference => "same-with-a-difference",
            Self::NeedsADecision => "needs-a-decision",
            Self::Impossible => "impossible",
        }
    }

    /// Name in prose.
    pub fn title(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::SameWithADifference => "same with a difference",
            Self::NeedsADecision => "needs a decision",
            Self::Impossible => "impossible",
        }
    }
}

/// A part of an exchange that may differ.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// Status of the response.
    Status,
    /// Header fields of the response.
    ResponseHeaders,
    /// Content of the response.
    Body,
    /// Backends that receive the request, and the number and order of the calls.
    Calls,
    /// Path that the backend receives.
    RequestPath,
    /// Header fields that the backend receives.
    RequestHeaders,
    /// Handshake and certificate.
    Tls,
}

/// The kind of a setting.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SettingKind {
    /// Behaviour of ingress-nginx that no setting affects.
    Default,
    /// Command-line flag of the controller.
    Flag,
    /// Key of the controller's ConfigMap.
    ConfigKey,
    /// Annotation of an Ingress.
    Annotation,
    /// Field of an object.
    Field,
}

/// A place in the input.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct SourcePlace {
    /// File name. Empty: none.
    pub file: String,
    /// Line, from 1. 0: unknown.
    pub line: usize,
}

/// The verdict on one setting of one object.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct MigrationVerdict {
    /// Object with the setting, such as `Ingress team-a/web`.
    pub object: String,
    /// Kind of the setting.
    pub kind: SettingKind,
    /// Name of the setting, such as the annotation.
    pub setting: String,
    /// Value of the setting.
    pub value: String,
    /// Place of the setting in the input.
    pub place: SourcePlace,
    /// The result of the translation.
    pub outcome: MigrationOutcome,
    /// Meaning of the result, and advice.
    pub text: String,
    /// Parts of exchanges that may differ.
    pub affects: Vec<Aspect>,
    /// A request to which the two sides respond differently. `None`: the behaviour is equal, or no single request
    /// shows the difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<ExampleExchange>,
}

impl MigrationVerdict {
    /// Whether the verdict is on a setting of the user, and not on a default of ingress-nginx.
    pub fn is_setting(&self) -> bool {
        self.kind != SettingKind::Default
    }
}

/// A request, and the responses to it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExampleExchange {
    /// Method.
    pub method: String,
    /// Scheme, host and path.
    pub url: String,
    /// Header fields or other properties of the request. Empty: no other property of the request is relevant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub with: String,
    /// Response of ingress-nginx.
    pub ingress_nginx: String,
    /// Response of the gateway.
    pub towergate: String,
}

impl ExampleExchange {
    /// The request on one line.
    pub fn request(&self) -> String {
        let request = format!("{} {}", self.method, self.url);
        match self.with.is_empty() {
            true => request,
            false => format!("{request} {}", self.with),
        }
    }
}

/// A verdict without the setting to which it belongs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Finding {
    pub(crate) outcome: MigrationOutcome,
    pub(crate) text: String,
    pub(crate) affects: Vec<Aspect>,
}

impl Finding {
    pub(crate) fn same(text: impl Into<String>) -> Self {
        Self::new(MigrationOutcome::Same, text, &[])
    }

    pub(crate) fn differs(text: impl Into<String>, affects: &[Aspect]) -> Self {
        Self::new(MigrationOutcome::SameWithADifference, text, affects)
    }

    pub(crate) fn decision(text: impl Into<String>, affects: &[Aspect]) -> Self {
        Self::new(MigrationOutcome::NeedsADecision, text, affects)
    }

    pub(crate) fn impossible(text: impl Into<String>, affects: &[Aspect]) -> Self {
        Self::new(MigrationOutcome::Impossible, text, affects)
    }

    fn new(outcome: MigrationOutcome, text: impl Into<String>, affects: &[Aspect]) -> Self {
        Self {
            outcome,
            text: text.into(),
            affects: affects.to_vec(),
        }
    }
}

/// Number of verdicts on settings by outcome. Defaults of ingress-nginx do not count.
pub fn count(verdicts: &[MigrationVerdict]) -> [(MigrationOutcome, usize); 4] {
    MigrationOutcome::ALL.map(|outcome| {
        let settings = verdicts.iter().filter(|verdict| verdict.is_setting());
        (outcome, settings.filter(|v| v.outcome == outcome).count())
    })
}
