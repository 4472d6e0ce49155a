//! Lines that have no room.

use super::*;

#[test]
fn a_text_is_cut_to_its_columns() {
    for (width, cut_to) in [(0, ""), (1, "…"), (3, "ab…"), (4, "abcd"), (9, "abcd")] {
        assert_eq!(cut("abcd", width), cut_to);
    }
    assert_eq!(cut("äöüß", 3), "äö…");
}

#[test]
fn who_has_no_room_is_counted() {
    let lines = || ["a", "b", "c"].map(str::to_string).to_vec();
    assert_eq!(fold(lines(), 3), ["a", "b", "c"]);
    assert_eq!(fold(lines(), 2), ["a", "    and 2 more"]);
    assert_eq!(fold(lines(), 1), ["    and 3 more"]);
}

#[test]
fn the_newest_lanes_stand_under_their_heads() {
    let coloured = "  \x1b[2m#\x1b[0m  main\n  1  a\n  2  b\n  3  c\n";
    assert_eq!(newest(coloured, 3), ["  \x1b[2m#\x1b[0m  main", "  2  b", "  3  c"]);
    let lanes = "  #  main\n  1  a\n  2  b\n";
    assert_eq!(newest(lanes, 3), ["  #  main", "  1  a", "  2  b"]);
    assert_eq!(newest(lanes, 2), ["  #  main", "  2  b"]);
    assert_eq!(newest(lanes, 1), ["  2  b"]);
    assert_eq!(newest(lanes, 0), [""; 0]);
    // Folded into one, they have none.
    assert_eq!(newest("  1  main  a\n  2  main  b\n  3  main  c\n", 2), ["  2  main  b", "  3  main  c"]);
}
