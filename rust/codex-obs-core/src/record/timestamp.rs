//! Points in time as microseconds since the epoch, and as text.
