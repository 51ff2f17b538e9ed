//! Names of gRPC statuses.

use super::operator::GrpcStatusForm;
use super::value::{shown, text};

/// Names by number, in the two spellings of Envoy.
const NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// Appends a status. A number without a name is written as a number.
pub(super) fn write(number: u16, form: GrpcStatusForm, out: &mut Vec<u8>) -> bool {
    let names = NAMES.get(usize::from(number));
    match (form, names) {
        (GrpcStatusForm::Number, _) | (_, None) => shown(out, Some(number)),
        (GrpcStatusForm::Camel, Some((camel, _))) => text(out, Some(*camel)),
        (GrpcStatusForm::Snake, Some((_, snake))) => text(out, Some(*snake)),
    }
}
