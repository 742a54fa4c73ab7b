//! Properties that are also fuzzed, tried with arbitrary bytes and with the inputs that once broke them.

use std::path::Path;

use proptest::prelude::*;

use crate::properties::{frames, lines, recovery};

/// Tries every input in `tests/corpora/fuzz/<target>`.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpora/fuzz").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // The name is shown if the check fails.
        println!("{}", path.display());
        check(&std::fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn inputs_that_once_broke_the_line_parser_do_so_no_more() {
    replay("lines", lines::check);
}

#[test]
fn inputs_that_once_broke_the_frame_decoder_do_so_no_more() {
    replay("frames", frames::check);
}

#[test]
fn inputs_that_once_broke_a_recovery_do_so_no_more() {
    replay("recovery", recovery::check);
}

proptest! {
    #[test]
    fn any_file_is_read_as_another_parser_reads_it(file in any::<Vec<u8>>()) {
        lines::check(&file);
    }

    #[test]
    fn any_call_is_read_back_from_its_frames(bytes in any::<Vec<u8>>()) {
        frames::check(&bytes);
    }

    #[test]
    fn any_journal_is_recovered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        recovery::check(&bytes);
    }
}
