//! What must hold for any bytes whatsoever. The fuzz targets in `fuzz/` feed these functions, and the inputs that once
//! broke one of them are kept in `tests/corpora/fuzz` and tried again by every run of the tests.

pub mod frames;
pub mod input;
pub mod lines;
pub mod recovery;
