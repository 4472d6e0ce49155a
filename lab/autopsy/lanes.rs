//! Lanes: an interleaving as a table, a column a role, a row an event.
//!
//! ```text
//!   #  client         main                 worker-1
//!   1  send 16,384
//!   2                 epoll_wait: fd 7 IN
//! ```

/// The role of a row that belongs to no lane: a remark, written across all of them.
pub const ACROSS: usize = usize::MAX;

/// One event in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The step of the schedule that this event began, if it began one.
    pub number: Option<usize>,
    /// Whose lane: an index into the roles, or [`ACROSS`].
    pub role: usize,
    /// What happened.
    pub text: String,
    /// What to point at, in the margin: `SIGSEGV`.
    pub mark: Option<String>,
}

/// The blanks between two columns.
const GAP: usize = 2;
/// A continued line of a cell starts so much further in.
const INDENT: usize = 2;
/// A column is not made narrower than this for the sake of the others.
const NARROW: usize = 14;
/// A table of more lines is to be shorter, if it can be: an order is hard to follow on more than two screens, of 24 lines.
const TALL: usize = 48;

pub(crate) const BOLD: &str = "1";
pub(crate) const DIM: &str = "2";
/// What went wrong, as the number of an ANSI style (ECMA-48, SGR).
pub const RED: &str = "1;31";
/// What went well.
pub const GREEN: &str = "32";

/// Draws the lanes of `roles` (only those that occur in `rows`), at most `width` columns wide. Where the columns do not
/// fit, workers that only follow all the others get a remark for a lane; where even that is too wide, all are folded into one
/// column: `worker-1  read 16,384 bytes`. Where the table is tall, a text runs on into the lanes beside it, which are
/// empty in its row. With `colour`, marks and step numbers carry ANSI codes. Each line ends with a newline.
pub fn draw(roles: &[String], rows: &[Row], width: usize, colour: bool) -> String {
    let width = width.max(1);
    let table = |rows: &[Row], form: Form| lay_out(roles, rows, width, form);
    let mut lines = table(rows, Form::Columns)
        .or_else(|| table(&without_followers(roles, rows), Form::Columns))
        .or_else(|| table(rows, Form::Folded))
        .expect("one column always fits");
    if lines.len() > TALL
        && let Some(shorter) = table(rows, Form::RunOn).filter(|other| other.len() < lines.len())
    {
        lines = shorter;
    }
    lines.iter().map(|line| line.render(colour)).collect()
}

/// Where the texts of the lanes stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Each in the column of its lane.
    Columns,
    /// Each from where its lane begins up to the edge of the page.
    RunOn,
    /// All in one column, with the name of the lane before them.
    Folded,
}

/// The rows without the lanes of those who do nothing before the last step, and then the same as another: one remark says it
/// of all of them.
fn without_followers(roles: &[String], rows: &[Row]) -> Vec<Row> {
    let after = rows.iter().rposition(|row| row.number.is_some()).map_or(0, |last| last + 1);
    let of = |role: usize| rows.iter().filter(move |row| row.role == role);
    let does = |role: usize| of(role).map(|row| row.text.as_str()).collect::<Vec<_>>();
    let is_late =
        |role: usize| rows[..after].iter().all(|row| row.role != role) && of(role).all(|row| row.mark.is_none());
    let late: Vec<usize> = (0..roles.len()).filter(|role| of(*role).next().is_some() && is_late(*role)).collect();
    let alike =
        |role: usize| -> Vec<usize> { late.iter().copied().filter(|other| does(*other) == does(role)).collect() };
    let mut kept = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let group = if late.contains(&row.role) { alike(row.role) } else { Vec::new() };
        if group.len() < 2 {
            kept.push(row.clone());
        } else if rows.iter().position(|row| group.contains(&row.role)) == Some(at) {
            let names: Vec<&str> = group.iter().map(|role| roles[*role].as_str()).collect();
            let text = format!("{}, each: {}", names.join(", "), does(row.role).join(", "));
            kept.push(Row { number: None, role: ACROSS, text, mark: None });
        }
    }
    kept
}

/// The lines, if they fit.
fn lay_out(roles: &[String], rows: &[Row], width: usize, form: Form) -> Option<Vec<Line>> {
    let mut used: Vec<usize> = rows.iter().map(|row| row.role).filter(|role| *role < roles.len()).collect();
    used.sort_unstable();
    used.dedup();
    let digits = rows.iter().filter_map(|row| row.number).max().map_or(0, |number| number.to_string().len());
    let left = if digits == 0 { GAP } else { GAP + digits + GAP };
    let table = Table { roles, rows, used: &used, digits, left, width };
    match form {
        Form::Columns => table.columns().map(|(widths, margin)| table.lanes(&table.starts(&widths), &widths, margin)),
        Form::RunOn => table.run_on(),
        Form::Folded => Some(table.folded()),
    }
}

struct Table<'a> {
    roles: &'a [String],
    rows: &'a [Row],
    used: &'a [usize],
    digits: usize,
    /// Where the first lane begins.
    left: usize,
    width: usize,
}

impl Table<'_> {
    fn cells(&self, role: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().filter(move |row| row.role == role).map(|row| row.text.as_str())
    }

    /// For each lane the width that breaks no text, and the one below which it is hard to read.
    fn widths(&self) -> (Vec<usize>, Vec<usize>) {
        let one = |role: &usize| {
            let name = length(&self.roles[*role]);
            let natural = self.cells(*role).map(length).max().unwrap_or(0).max(name);
            let longest = self.cells(*role).flat_map(words).map(|word| length(&word)).max().unwrap_or(0);
            (natural, (longest + INDENT).max(NARROW).max(name).min(natural))
        };
        self.used.iter().map(one).unzip()
    }

    /// What the lanes have together, without the blanks between them.
    fn room(&self) -> Option<usize> {
        self.width.checked_sub(self.left + GAP * self.used.len().saturating_sub(1))
    }

    /// The widths of the lanes, and whether a margin for the marks fits beside them; `None` if they do not fit at all.
    fn columns(&self) -> Option<(Vec<usize>, bool)> {
        let (natural, least) = self.widths();
        let lines = |lane: usize, width: usize| -> usize {
            self.cells(self.used[lane]).map(|text| wrap(text, width, INDENT).len()).sum()
        };
        let total =
            |widths: &[usize]| widths.iter().enumerate().map(|(lane, width)| lines(lane, *width)).sum::<usize>();
        let room = self.room()?;
        let margin = self.rows.iter().filter_map(|row| row.mark.as_deref()).map(|mark| length(mark) + 3 + GAP).max();
        let with_margin = margin.and_then(|margin| shrink(&natural, &least, room.checked_sub(margin)?, lines));
        let without = shrink(&natural, &least, room, lines);
        // A margin is worth a line: without it, a mark may need one.
        match (with_margin, without) {
            (Some(with), Some(without)) if total(&with) > total(&without) + 1 => Some((without, false)),
            (Some(with), _) => Some((with, true)),
            (None, without) => Some((without?, false)),
        }
    }

    /// A row is one role's: the lanes beside it are empty there.
    fn run_on(&self) -> Option<Vec<Line>> {
        let (natural, least) = self.widths();
        let names: Vec<usize> = self.used.iter().map(|role| length(&self.roles[*role])).collect();
        // No text is broken for it: the widest gives way.
        let starts = self.starts(&shrink(&natural, &names, self.room()?, |_, _| 0)?);
        let rooms: Vec<usize> = starts.iter().map(|start| self.width - start).collect();
        let is_legible = rooms.iter().zip(&least).all(|(room, least)| room >= least);
        is_legible.then(|| self.lanes(&starts, &rooms, false))
    }

    /// Where each lane begins.
    fn starts(&self, widths: &[usize]) -> Vec<usize> {
        let start = |next: &mut usize, width: &usize| Some(std::mem::replace(next, *next + width + GAP));
        widths.iter().scan(self.left, start).collect()
    }

    /// The lanes, each with its start and the room of its texts.
    fn lanes(&self, starts: &[usize], widths: &[usize], margin: bool) -> Vec<Line> {
        let end = starts.last().zip(widths.last()).map_or(self.left, |(start, width)| start + width);
        let mut header = Line::default();
        if self.digits > 0 {
            header.put(GAP + self.digits - 1, "#", DIM);
        }
        for (role, start) in self.used.iter().zip(starts) {
            header.put(*start, &self.roles[*role], BOLD);
        }
        let mut lines = if self.used.is_empty() { vec![] } else { vec![header] };
        for row in self.rows {
            let lane = self.used.iter().position(|role| *role == row.role);
            let (start, room) = lane.map_or((self.left, self.width - self.left), |lane| (starts[lane], widths[lane]));
            let mut cell = self.cell(row, start, room);
            if let Some(mark) = &row.mark {
                let mark = format!("<- {mark}");
                let last = cell.last_mut().expect("a cell has a line");
                let beside = if margin { end + GAP } else { last.length + GAP };
                if beside + length(&mark) <= self.width {
                    last.put(beside, &mark, RED);
                } else {
                    cell.extend(self.own_line(&mark, start));
                }
            }
            lines.append(&mut cell);
        }
        lines
    }

    /// The lines of a row's text, wrapped to `room` columns from `start` on, with its number before the first.
    fn cell(&self, row: &Row, start: usize, room: usize) -> Vec<Line> {
        let style = if row.role == ACROSS { DIM } else { "" };
        let mut lines = Vec::new();
        for (n, text) in wrap(&row.text, room, INDENT).iter().enumerate() {
            let mut line = Line::default();
            if let (0, Some(number)) = (n, row.number) {
                line.put(GAP, &format!("{number:>width$}", width = self.digits), DIM);
            }
            line.put(start, text, style);
            lines.push(line);
        }
        lines
    }

    /// A mark that found no room beside its text.
    fn own_line(&self, mark: &str, start: usize) -> Vec<Line> {
        let start = start.min(self.width.saturating_sub(length(mark)));
        wrap(mark, self.width - start, 0).iter().map(|text| Line::of(start, text, RED)).collect()
    }

    /// One column: number, role, text.
    fn folded(&self) -> Vec<Line> {
        let names = self.used.iter().map(|role| length(&self.roles[*role])).max().unwrap_or(0);
        let start = self.left + names + GAP;
        let mut lines = Vec::new();
        if start + NARROW > self.width {
            // Too narrow for any column: plain text.
            for row in self.rows {
                let number = row.number.map(|number| format!("{number} ")).unwrap_or_default();
                let role = self.roles.get(row.role).map(|role| format!("{role}: ")).unwrap_or_default();
                let mark = row.mark.as_ref().map(|mark| format!(" <- {mark}")).unwrap_or_default();
                let text = format!("{number}{role}{}{mark}", row.text);
                lines.extend(wrap(&text, self.width, 1).iter().map(|text| Line::of(0, text, "")));
            }
            return lines;
        }
        for row in self.rows {
            let across = row.role >= self.roles.len();
            let at = if across { self.left } else { start };
            let mut cell = self.cell(row, at, self.width - at);
            if !across {
                let first = &mut cell[0];
                let text = std::mem::take(&mut first.pieces);
                let (number, text): (Vec<_>, Vec<_>) = text.into_iter().partition(|(at, ..)| *at < self.left);
                first.pieces = number;
                first.length = 0;
                first.put(self.left, &self.roles[row.role], BOLD);
                for (at, text, style) in text {
                    first.put(at, &text, style);
                }
            }
            if let Some(mark) = &row.mark {
                let mark = format!("<- {mark}");
                let last = cell.last_mut().expect("a cell has a line");
                match last.length + GAP {
                    beside if beside + length(&mark) <= self.width => last.put(beside, &mark, RED),
                    _ => cell.extend(self.own_line(&mark, at)),
                }
            }
            lines.append(&mut cell);
        }
        lines
    }
}

/// Makes columns narrower until they fit into `room`: each time the one whose text then needs the fewest more lines,
/// and of several the widest. None gets narrower than its `least`. `lines` says how many lines a lane has at a width.
fn shrink(
    natural: &[usize],
    least: &[usize],
    room: usize,
    lines: impl Fn(usize, usize) -> usize,
) -> Option<Vec<usize>> {
    if least.iter().sum::<usize>() > room {
        return None;
    }
    let mut widths = natural.to_vec();
    let price = |lane: usize, width: usize| lines(lane, width - 1) - lines(lane, width).min(lines(lane, width - 1));
    let mut prices: Vec<usize> = (0..widths.len()).map(|lane| price(lane, widths[lane])).collect();
    while widths.iter().sum::<usize>() > room {
        let narrowable = (0..widths.len()).filter(|lane| widths[*lane] > least[*lane]);
        let cheapest = narrowable.min_by_key(|lane| (prices[*lane], usize::MAX - widths[*lane]))?;
        widths[cheapest] -= 1;
        prices[cheapest] = price(cheapest, widths[cheapest]);
    }
    Some(widths)
}

/// A line as pieces of text, each with the column where it starts and its style.
#[derive(Default)]
struct Line {
    pieces: Vec<(usize, String, &'static str)>,
    length: usize,
}

impl Line {
    fn of(start: usize, text: &str, style: &'static str) -> Line {
        let mut line = Line::default();
        line.put(start, text, style);
        line
    }

    fn put(&mut self, start: usize, text: &str, style: &'static str) {
        self.length = start + length(text);
        self.pieces.push((start, text.to_string(), style));
    }

    fn render(&self, colour: bool) -> String {
        let (mut out, mut at) = (String::new(), 0);
        for (start, text, style) in &self.pieces {
            out += &" ".repeat(start.saturating_sub(at));
            out += &paint(text, style, colour);
            at = start + length(text);
        }
        out.truncate(out.trim_end().len());
        out + "\n"
    }
}

/// `text` in an ANSI style, if there is to be colour.
pub fn paint(text: &str, style: &str, colour: bool) -> String {
    if colour && !style.is_empty() && !text.trim().is_empty() {
        format!("\x1b[{style}m{text}\x1b[0m")
    } else {
        text.to_string()
    }
}

/// How many columns a text takes: its characters, not its bytes.
pub(crate) fn length(text: &str) -> usize {
    text.chars().count()
}

/// The words of a text; a number stays with the word before it: `session 1`, `fd 7`.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(last) if word.starts_with(|c: char| c.is_ascii_digit()) => *last += &format!(" {word}"),
            _ => words.push(word.to_string()),
        }
    }
    words
}

/// `text` as lines of at most `width` columns, broken at blanks where there are any; lines after the first are
/// indented.
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let width = width.max(1);
    let indent = if indent < width { indent } else { 0 };
    let mut lines = vec![String::new()];
    let mut fresh = true;
    for word in words(text) {
        let mut word: Vec<char> = word.chars().collect();
        let line = lines.last().expect("there is a line");
        if !fresh && length(line) + 1 + word.len() > width {
            lines.push(" ".repeat(indent));
            fresh = true;
        }
        // A word longer than a line is cut.
        while length(lines.last().expect("there is a line")) + word.len() > width && fresh {
            let line = lines.last_mut().expect("there is a line");
            let rest = word.split_off((width - length(line)).min(word.len()));
            line.extend(word);
            lines.push(" ".repeat(indent));
            word = rest;
        }
        let line = lines.last_mut().expect("there is a line");
        if !fresh {
            line.push(' ');
        }
        line.extend(word);
        fresh = false;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles() -> Vec<String> {
        ["client", "main", "worker-1", "worker-2"].map(String::from).to_vec()
    }

    fn row(number: impl Into<Option<usize>>, role: usize, text: &str) -> Row {
        Row { number: number.into(), role, text: text.to_string(), mark: None }
    }

    fn timeline() -> Vec<Row> {
        vec![
            row(1, 0, "send 16,384 bytes"),
            row(2, 1, "epoll_wait: fd 7 IN"),
            row(None, 1, "queue session 1"),
            row(10, 3, "waits for session 1's lock (worker-1 has it)"),
            Row { mark: Some("SIGSEGV".to_string()), ..row(11, 3, "use session 1") },
        ]
    }

    fn widest(text: &str) -> usize {
        text.lines().map(length).max().unwrap_or(0)
    }

    #[test]
    fn a_lane_is_as_wide_as_its_text_and_silent_roles_have_none() {
        let lanes = draw(&roles(), &timeline(), 120, false);
        assert_eq!(
            lanes,
            "   #  client             main                 worker-2
   1  send 16,384 bytes
   2                     epoll_wait: fd 7 IN
                         queue session 1
  10                                          waits for session 1's lock (worker-1 has it)
  11                                          use session 1                                 <- SIGSEGV
"
        );
    }

    #[test]
    fn long_text_wraps_in_its_lane() {
        let lanes = draw(&roles(), &timeline(), 80, false);
        assert_eq!(
            lanes.lines().skip(4).collect::<Vec<_>>(),
            [
                "  10                                          waits for session 1's",
                "                                                lock (worker-1 has",
                "                                                it)",
                "  11                                          use session 1           <- SIGSEGV",
            ]
        );
    }

    #[test]
    fn lanes_that_do_not_fit_are_folded_into_one() {
        let lanes = draw(&roles(), &timeline(), 50, false);
        assert_eq!(
            lanes,
            "   1  client    send 16,384 bytes
   2  main      epoll_wait: fd 7 IN
      main      queue session 1
  10  worker-2  waits for session 1's lock
                  (worker-1 has it)
  11  worker-2  use session 1  <- SIGSEGV
"
        );
    }

    #[test]
    fn those_who_only_follow_the_others_share_a_remark_where_their_lanes_do_not_fit() {
        let roles: Vec<String> = ["main", "worker-1", "worker-2", "worker-3", "worker-4"].map(String::from).to_vec();
        let looks = "look at the flag, which says to stop";
        let rows = |odd: &str| {
            let mut rows =
                vec![row(1, 0, "set the flag, as the operator said"), row(2, 1, "sleep in the queue until told")];
            rows.extend([2, 3, 4].map(|role| row(None, role, "lock")));
            rows.extend([2, 3, 4].map(|role| row(None, role, if role == 4 { odd } else { looks })));
            rows
        };
        let wide = draw(&roles, &rows(looks), 200, false);
        assert!(wide.starts_with("  #  main") && wide.contains("worker-4") && !wide.contains("each"), "{wide}");
        assert_eq!(
            draw(&roles, &rows(looks), 72, false),
            "  #  main                                worker-1
  1  set the flag, as the operator said
  2                                      sleep in the queue until told
     worker-2, worker-3, worker-4, each: lock, look at the flag, which
       says to stop
"
        );
        // One that does something else keeps its lane, and so does one that did something in a step.
        let odd = draw(&roles, &rows("end"), 72, false);
        assert!(
            odd.contains("worker-2, worker-3, each: lock") && odd.lines().next().unwrap().ends_with("worker-4"),
            "{odd}"
        );
        let mut early = rows(looks);
        early.insert(1, row(None, 4, "lock"));
        early.remove(5);
        let early = draw(&roles, &early, 72, false);
        assert!(
            early.contains("worker-2, worker-3, each: lock") && early.lines().next().unwrap().ends_with("worker-4"),
            "{early}"
        );
        let mut marked = rows(looks);
        marked[7].mark = Some("SIGSEGV".to_string());
        let marked = draw(&roles, &marked, 72, false);
        assert!(marked.contains("<- SIGSEGV") && !marked.contains("worker-4, each"), "{marked}");
    }

    /// Five roles, of which each says in turn what breaks in a fifth of 80 columns.
    fn crowd() -> (Vec<String>, Vec<Row>) {
        let roles: Vec<String> = ["client", "main", "client-2", "worker-1", "worker-2"].map(String::from).to_vec();
        let says = ["send 1,082 bytes", "epoll_wait: fd 6 HUP ERR", "receive 57 bytes", "read 1,082 bytes from fd 6"];
        let mut rows: Vec<Row> = (0..36).map(|at| row(at + 1, at % 4, says[at % 4])).collect();
        rows.push(row(37, 4, "take fd 6"));
        rows[34].mark = Some("not its own".to_string());
        (roles, rows)
    }

    #[test]
    fn in_a_tall_table_a_text_runs_on() {
        let (roles, rows) = crowd();
        let lanes = draw(&roles, &rows, 80, false);
        assert_eq!(
            lanes.lines().skip(33).collect::<Vec<_>>(),
            [
                "  33  send 1,082 bytes",
                "  34                  epoll_wait: fd 6 HUP ERR",
                "  35                                  receive 57 bytes  <- not its own",
                "  36                                                  read 1,082 bytes from fd 6",
                "  37                                                                   take fd 6",
            ]
        );
        assert_eq!(lanes.lines().count(), 1 + rows.len(), "a row is a line:\n{lanes}");
        // Where there is room each text stands in its lane.
        let wide = draw(&roles, &rows, 140, false);
        let worker = 1 + length("read 1,082 bytes from fd 6");
        assert!(wide.starts_with("   #") && wide.contains(&format!("{:<worker$} worker-2", "worker-1")), "{wide}");
    }

    #[test]
    fn in_a_table_of_two_screens_each_text_stays_in_its_lane() {
        let (roles, mut rows) = crowd();
        rows.truncate(20);
        rows.push(row(21, 4, "take fd 6"));
        let lanes = draw(&roles, &rows, 80, false);
        assert!(lanes.lines().count() <= 48 && lanes.lines().any(|line| line.ends_with("  epoll_wait:")), "{lanes}");
    }

    #[test]
    fn no_word_is_broken_for_a_text_that_runs_on() {
        let (roles, mut rows) = crowd();
        rows.push(row(38, 4, "an_argument_of_twenty"));
        for width in 39..130 {
            let lanes = draw(&roles, &rows, width, false);
            assert!(widest(&lanes) <= width, "{width}:\n{lanes}");
            assert!(lanes.contains("an_argument_of_twenty"), "{width}:\n{lanes}");
        }
    }

    #[test]
    fn no_line_is_wider_than_it_may_be() {
        let mut rows = timeline();
        rows.push(row(
            None,
            ACROSS,
            "the points are open: fünfzehn Wörter, and averyveryveryverylongwordwithoutanyblank",
        ));
        for width in 1..130 {
            let lanes = draw(&roles(), &rows, width, false);
            assert!(widest(&lanes) <= width, "{} > {width}:\n{lanes}", widest(&lanes));
            assert!(lanes.contains("SEGV") || width < 12, "the mark is lost at {width}:\n{lanes}");
        }
    }

    #[test]
    fn colour_adds_codes_and_nothing_else() {
        let plain = draw(&roles(), &timeline(), 80, false);
        let mut coloured = draw(&roles(), &timeline(), 80, true);
        assert!(!plain.contains('\x1b'));
        assert!(coloured.contains("\x1b[1;31m<- SIGSEGV\x1b[0m"), "{coloured}");
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;31m"] {
            coloured = coloured.replace(code, "");
        }
        assert_eq!(coloured, plain);
    }

    #[test]
    fn without_numbers_there_is_no_column_for_them() {
        assert_eq!(draw(&roles(), &[row(None, 1, "accept fd 7")], 80, false), "  main\n  accept fd 7\n");
        assert_eq!(draw(&roles(), &[], 80, false), "");
    }
}
