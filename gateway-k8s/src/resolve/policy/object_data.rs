//! Values of Secrets and ConfigMaps that policies refer to.

use towergate_policy::FieldError;
use towergate_policy::references::ObjectData;

/// An error of `field`, as a result.
pub(super) fn error<T>(field: &str, message: impl std::fmt::Display) -> Result<T, FieldError> {
    Err(FieldError {
        field: field.to_owned(),
        message: format!("{field}: {message}"),
    })
}

/// The decoded values of an object.
pub(super) fn read<'k>(
    field: &str,
    object: &str,
    keys: impl Iterator<Item = &'k String>,
    value: impl Fn(&str) -> Result<Option<Vec<u8>>, String>,
) -> Result<ObjectData, FieldError> {
    let mut data = ObjectData::new();
    for key in keys {
        match value(key) {
            Ok(value) => data.insert(key.clone(), value.unwrap_or_default()),
            Err(fault) => return error(field, format_args!("{key} of {object} is {fault}")),
        };
    }
    Ok(data)
}
