//! The configuration of a run, from `params.ndjson`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::limits::MAX_LINE_BYTES;
use crate::paths::{FileKind, Stream};

type Object = BTreeMap<String, Box<RawValue>>;

/// What `stream` says of its parameters, as a JSON object: of those that were given twice, the later ones. `None` if it says nothing.
pub(super) fn read(directory: &Path, stream: &Stream) -> Result<Option<String>> {
    let path = FileKind::Params.path(directory, stream);
    let file = match crate::fs::open_read(&path) {
        Ok(file) => file,
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    let most = MAX_LINE_BYTES as u64;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|source| Error::io("read", &path, source))?;
    if bytes.len() as u64 > most {
        let limit = most >> 20;
        return Err(Error::too_large(format!(
            "{} is larger than {limit} MiB: its parameters are not shown",
            path.display()
        )));
    }
    let mut config: Option<Object> = None;
    for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let record = serde_json::from_slice::<Object>(line).ok();
        if let Some(raw) = record.as_ref().and_then(|record| record.get("config"))
            && let Ok(object) = serde_json::from_str::<Object>(raw.get())
        {
            config.get_or_insert_default().extend(object);
        }
    }
    Ok(config.and_then(|config| serde_json::to_string(&config).ok()))
}
