//! Every default and cap of the engine, once, with the reason for its number.

use std::time::Duration;

/// Longest metric name, split, dataset or tag text kept, in bytes of UTF-8. Longer text is cut at a character and counted.
pub const MAX_TEXT_BYTES: usize = 4096;

/// Longest JSON text of one structured value. A longer one is described without its payload.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// Longest JSON text of a structured value with its description: shape and class beside the payload.
pub const MAX_DESCRIPTOR_BYTES: usize = MAX_PAYLOAD_BYTES + (64 << 10);

/// Most bytes that what the rows of one frame share may become in their lines. A call with more becomes several frames, each
/// with its tags.
pub const MAX_FRAME_LINES_BYTES: u64 = 64 << 20;

/// A frame's rows repeat their tags and other texts in at most so many times its bytes; a call that would go beyond becomes
/// several frames. A thousand metrics with 64 KiB of tags become two.
pub const WRITTEN_FRAME_EXPANSION: u64 = 768;

/// What is believed of a journal that is found, with the run's id: more than any writer does, and so little that a planted
/// journal of 8 MiB stands for 9 GB of lines at most.
pub const MAX_FRAME_EXPANSION: u64 = 1024;

/// A recovery that may take more of the disk looks first whether there is room: many times what the default ring stands for
/// as a rule.
pub const RECOVERY_UNASKED_BYTES: u64 = 256 << 20;

/// Room that such a recovery leaves on the disk, for everyone else.
pub const RECOVERY_SPARED_BYTES: u64 = 1 << 30;

/// Shards that one recovery begins at most, whatever limit the journal names. Each rotation renames all before it: a thousand took
/// a minute on a busy machine.
pub const RECOVERY_SHARDS: u64 = 300;

/// Nesting kept of tags, payloads and parameters. What lies deeper becomes null; the parsers in use stop at 128 or more.
pub const MAX_DEPTH: usize = 64;

/// Ring of the journal. Holds about 40,000 calls with 8 metrics, 12 ms of the tightest loop.
pub const DEFAULT_RING_BYTES: u64 = 8 << 20;

/// Smallest ring accepted: half of it holds one row with the longest name, split and dataset, but not every payload. A row
/// that is larger than half of the ring is dropped and counted.
pub const MIN_RING_BYTES: u64 = 256 << 10;

/// Part of the ring that is allocated when a journal is made: the least that is accepted. The writer adds the rest once a quarter
/// of it is used, so that a run that logs little leaves little behind, and a tight loop takes as long to fill what is left as
/// the writer to wake up.
pub const FIRST_RING_BYTES: u64 = MIN_RING_BYTES;

/// Largest ring accepted: it is preallocated on disk and mapped whole.
pub const MAX_RING_BYTES: u64 = 1 << 30;

/// How many times the bytes of a dead process's journal are gone through in search of whole frames. Once is enough for what a
/// writer leaves, damaged or not; a planted one may have headers at every place that stand for the whole ring.
pub const JOURNAL_LOOKS: u64 = 8;

/// Longest wait of a `log` call for a writer that takes no byte, in seconds.
pub const DEFAULT_MAX_BLOCK_S: f64 = 1.0;

/// Time between two `fdatasync` under the policy `interval`, in seconds: what a power cut may cost.
pub const DEFAULT_FSYNC_INTERVAL_S: f64 = 1.0;

/// A shard is rotated before a row that would make it larger than this.
pub const DEFAULT_MAX_SHARD_BYTES: u64 = 64 << 20;

/// A shard that was last written this long ago is rotated before the next row, in seconds.
pub const DEFAULT_MAX_SHARD_AGE_S: f64 = 86_400.0;

/// Rotated shards kept beside the current one.
pub const DEFAULT_BACKUP_COUNT: u64 = 5;

/// Archives larger than this are said once: 200 GiB of rows.
pub const ARCHIVES_NOTICE_BYTES: u64 = 10 << 30;

/// Mode of the files we create; the umask may narrow it.
pub const DEFAULT_FILE_MODE: u32 = 0o600;

/// Bytes the writer hands to one `write`. 256 KiB stays in the second-level cache and is within 2 % of 1 MiB in speed.
pub const BATCH_BYTES: usize = 256 << 10;

/// Shards kept beyond the count while a destination lags.
pub const DEFAULT_MAX_UNEXPORTED_SHARDS: u64 = 64;

/// Longest wait of a fork for the writer thread to pause. The fork goes on then; the journal covers what is half done.
pub const FORK_WAIT_S: f64 = 0.1;

/// Longest line a reader takes: many times the longest one that the writer makes. It bounds what a hostile file costs.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// A longer line than this is read by one thread at a time, so that what a hostile file costs does not grow with the number of
/// cores.
pub const LONG_LINE_BYTES: usize = 1 << 20;

/// Most memory that a summary's distinct texts and groups may take, all threads together. Measured on two cores: 259,000 groups with
/// names of 24 characters, and 228,000 where both threads meet each of them. A reading that needs more ends with an error.
pub const MAX_GROUP_BYTES: usize = 128 << 20;

/// The same for a table of rows, whose dictionaries have every text once more.
pub const MAX_NAME_BYTES: usize = 96 << 20;

/// The part of these limits from which on one thread reads alone. Each thread has its own texts and groups, and where every thread
/// meets all of them the limit would be reached the sooner the more cores there are.
pub const ALONE: usize = 4;

/// Threads of a reading. Each may hold a decompressor's window and a table of its own.
pub const MAX_SCAN_THREADS: usize = 16;

/// Window of a zstd file up to which every thread decompresses at once: that of level 19.
pub const USUAL_ZSTD_WINDOW_BITS: u32 = 23;

/// Largest window of a zstd file that is read at all, by one thread at a time: that of level 22 for a shard of usual size.
pub const MAX_ZSTD_WINDOW_BITS: u32 = 26;

/// Bytes a reader takes from a file at once. They stay in the second-level cache until they are parsed.
pub const SCAN_BLOCK_BYTES: usize = 256 << 10;

/// Part of a shard that one thread reads at a time: small enough to keep every core busy to the end.
pub const SCAN_UNIT_BYTES: u64 = 4 << 20;

/// Lines that are turned into a table at once where tables are handed over one after the other: four units.
pub const PAGE_BYTES: u64 = 4 * SCAN_UNIT_BYTES;

/// So many bytes of small files are read by one thread in a row. Their rows become one batch: a table of thousands of batches is slow
/// to take over.
pub const SCAN_CHUNK_BYTES: u64 = 1 << 20;

/// How much larger a compressed file is taken to be unpacked, where only the order of size matters.
pub const USUAL_COMPRESSION: u64 = 16;

/// Rows of a chart that are kept together. What a live run adds is put to the last ones until they are so many: about as many as a
/// unit has.
pub const SERIES_BLOCK_ROWS: usize = 16 << 10;

/// Memory that the curves of one run may take: those of eight million rows. Beyond it rows are taken together. A server of charts is to
/// stay below 200 MiB.
pub const SERIES_BYTES: usize = 96 << 20;

/// Structured values of one key that are kept for a picture: a map of histograms has as many columns.
pub const PICKS: usize = 160;

/// Memory that they may take for one run. Beyond it fewer of each key are kept.
pub const PICKS_BYTES: usize = 32 << 20;

/// Where single rows are read again for a narrow range, they and those around them are no more than these: they take a tenth of a second.
pub const SERIES_ROWS_READ_AGAIN: usize = 2_000_000;

/// Most pixels of a chart: more than any screen has.
pub const MAX_PIXELS: u32 = 1 << 16;

/// Places of one stream at which sessions begin, or from which on they supersede rows: a run that is restarted every ten minutes for a
/// month has as many. Each costs a part of a shard that is read by itself, and an archive is unpacked once for each.
pub const MAX_STREAM_PLACES: usize = 4096;

/// The same of all streams together: 64 of a thousand ranks each take 10 MiB.
pub const MAX_SESSION_PLACES: usize = 1 << 18;

/// Sessions of one stream that a survey lists: more than anyone reads.
pub const MAX_LISTED_SESSIONS: usize = 1000;

/// The same of all streams together.
pub const MAX_LISTED_SESSIONS_OF_ALL: usize = 10_000;

/// Refused lines that a report names.
pub const MAX_REPORTED_LINES: usize = 10;

/// Longest line that others are compared with. Rows are a few hundred bytes; four of these stay in the first-level cache.
pub const MAX_SHAPE_BYTES: usize = 4096;

/// Most members of such a line. It has a few more than the fields of a row.
pub const MAX_SHAPE_MEMBERS: usize = 64;

/// An attempt to save the journal that failed within this time is repeated at the next call: it costs less than what it may
/// save.
pub const JOURNAL_RETRY_FREE: Duration = Duration::from_micros(100);

/// One that took longer is repeated after so many times as long, so that a disk which says slowly that it is full takes a
/// twentieth of a training loop's time and not all of it.
pub const JOURNAL_RETRY_SHARE: u32 = 20;

/// Longest time that a metric waits for others before it is sent to a destination, in seconds.
pub const DEFAULT_EXPORT_INTERVAL_S: f64 = 1.0;

/// So many metrics are sent to a destination at once, without waiting for more.
pub const DEFAULT_EXPORT_POINTS: usize = 50;

/// Most metrics of one request: MLflow refuses more.
pub const EXPORT_REQUEST_METRICS: usize = 1000;

/// Most parameters, or tags, of one request: MLflow refuses more.
pub const EXPORT_REQUEST_PARAMS: usize = 100;

/// Most bytes of one request: MLflow's limit, and below nginx' default.
pub const EXPORT_REQUEST_BYTES: usize = 1_000_000;

/// Longest time of one request from the name look-up to the last byte of the reply.
pub const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest time of a request that cannot be made smaller, such as the search for a run among a million.
pub const EXPORT_LONGEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Attempts for one batch before it waits for a back-off.
pub const EXPORT_QUICK_ATTEMPTS: u32 = 3;

/// First pause between two of them, jittered; long enough for a connection to be closed and opened again.
pub const EXPORT_QUICK_PAUSE: Duration = Duration::from_millis(200);

/// First pause of the back-off.
pub const EXPORT_SHORTEST_BACKOFF: Duration = Duration::from_secs(1);

/// Longest pause of the back-off, so that a server that is back is noticed within half a minute.
pub const EXPORT_LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// A close without a deadline gives a destination up that has taken nothing for so long: two of the longest pauses.
pub const EXPORT_PATIENCE: Duration = Duration::from_mins(1);

/// Longest pause that a server's `Retry-After` is granted: a wrong clock must not switch the export off.
pub const EXPORT_LONGEST_RETRY_AFTER: Duration = Duration::from_mins(5);

/// Most bytes kept of a reply. MLflow answers a batch with `{}` and an error with a sentence that may repeat a parameter.
pub const EXPORT_REPLY_BYTES: usize = 64 << 10;

/// Most bytes taken of a reply that describes a run: 100,000 of its metrics and parameters.
pub const EXPORT_RUN_REPLY_BYTES: usize = 16 << 20;

/// Most characters kept of a server's words.
pub const EXPORT_WORDS: usize = 500;

/// Most names whose change is kept on record, which takes a few megabytes; what comes after is changed all the same.
pub const EXPORT_REPORTED_NAMES: usize = 10_000;

/// Most bytes read of that record: 10,000 names of 4 KiB.
pub const EXPORT_REPORTED_BYTES: u64 = 64 << 20;

/// Batches of the writer that wait for an exporter which keeps up: 4 MiB at most, as a rule a few kilobytes.
pub const FEED_BATCHES: usize = 16;

/// Structured values that are read ahead of their rows at most, where the line of one is gone, and their bytes.
pub const VALUES_AHEAD: usize = 4096;
/// See [`VALUES_AHEAD`].
pub const VALUES_AHEAD_BYTES: usize = 64 << 20;

/// Bytes of the first lines of open spans that are noted with a delivery's place, which is written after each batch; a span has
/// some five hundred.
pub const OPEN_SPANS_BYTES: usize = 256 << 10;

/// Spans or samples that are handed to a destination at once, and their bytes: batches as the OTLP exporters of the field make them.
pub const RECORD_BATCH: usize = 512;
/// See [`RECORD_BATCH`].
pub const RECORD_BATCH_BYTES: usize = 1_000_000;

/// Bytes of lines that are handed to Python at once: the cost of a call does not show, and memory stays flat.
pub const LINES_PAGE_BYTES: usize = 1 << 20;
