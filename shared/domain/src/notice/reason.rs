//! The reason of a job as those it affected may read it (`[MAIL-2]`): addresses, tokens, ids, links and the names of
//! the directory's users are taken out.
//!
//! Removing too much costs a word; removing too little tells a thousand people whose laptop was stolen. Every rule here
//! errs on that side. The text is looked at in its compatibility form (NFKC), so that full-width digits and letters are
//! what they look like, and without invisible characters, so that none can hide between two digits.
//!
//! Whose names: a name stands under its hash in the directory, so that the question is not "whose names are there?"
//! but "is this piece of the reason somebody's name?", asked once for all pieces that begin and end where a word may
//! ([`pieces`]). That is exact for every user of the directory, and bounded by the length of the reason alone.

use std::collections::BTreeSet;
use std::ops::Range;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use crate::mail::one_line;
use crate::ports::{Directory, PortResult};

const IP: &str = "[IP_REMOVED]";
const EMAIL: &str = "[EMAIL_REMOVED]";
const TOKEN: &str = "[TOKEN_REMOVED]";
const ID: &str = "[ID_REMOVED]";
const LINK: &str = "[LINK_REMOVED]";
const NAME: &str = "[NAME_REMOVED]";

/// A run of letters and digits of at least this length that mixes both is taken for a token or a hash.
const SECRET_CHARS: usize = 24;
/// After `eyJ`, the beginning of every JSON object in base64url, this many more make it a part of a JWT.
const JWT_CHARS: usize = 8;
/// A name of the directory has at least so many characters, white space aside.
const MIN_NAME_CHARS: usize = 2;
/// A name of the directory is looked for if it has at most so many words, or letters of a script without spaces.
const MAX_NAME_UNITS: usize = 12;

/// A reason that may be shown to everybody it concerns. Made by [`clean`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanReason(String);

impl CleanReason {
    /// The text: one line; perhaps empty.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What has not been cleaned, for tests of what becomes of the worst.
    #[cfg(test)]
    pub(super) fn untouched(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Takes out of a reason what must not be in a mail. `also` are names to look for beside those of the directory.
pub async fn clean(reason: &str, also: &[&str], directory: &dyn Directory) -> PortResult<CleanReason> {
    let text = Text::of(reason);
    let pieces: BTreeSet<String> = text.pieces().map(|range| text.name_in(range)).collect();
    let candidates: Vec<String> = pieces.iter().cloned().collect();
    let mut names = directory.known_names(&candidates).await?;
    names.extend(also.iter().filter_map(|name| name_key(name)));
    Ok(text.cleaned(&names))
}

/// A name as it is compared: in compatibility form, without case and white space. `None` if it is too short to look
/// for.
pub fn name_key(name: &str) -> Option<String> {
    let key: String = visible(name).into_iter().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
    (key.chars().count() >= MIN_NAME_CHARS).then_some(key)
}

/// The characters that can be seen, in compatibility form.
fn visible(text: &str) -> Vec<char> {
    let text: Vec<char> = text.nfkc().collect();
    let mut seen: Vec<char> = Vec::with_capacity(text.len());
    for (index, c) in text.iter().copied().enumerate() {
        let after_ascii = seen.last().is_none_or(char::is_ascii);
        let before_ascii = text.get(index + 1).is_none_or(char::is_ascii);
        let drop = match c {
            // Joiners and selectors make emoji and the letters of some scripts; between ASCII they only hide.
            '\u{200C}' | '\u{200D}' => after_ascii || before_ascii,
            '\u{FE00}'..='\u{FE0F}' => after_ascii,
            _ if is_invisible(c) => true,
            _ if is_combining_mark(c) => seen.last().is_none_or(|last| last.is_ascii() && !last.is_ascii_alphabetic()),
            _ => false,
        };
        match c {
            _ if drop => {}
            // Hyphens that are none of ASCII's.
            '\u{2010}' | '\u{2011}' | '\u{2212}' => seen.push('-'),
            // Full stops of domain names in other scripts (UTS #46).
            '\u{3002}' => seen.push('.'),
            // No markup, not even where a text is taken for HTML.
            '<' => seen.push('‹'),
            '>' => seen.push('›'),
            _ => seen.push(c),
        }
    }
    seen
}

/// Controls of direction and format, fillers and tags. Line breaks and the like are [`one_line`]'s business.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFB}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// A reason under work.
struct Text {
    chars: Vec<char>,
    /// What is taken out, in order and apart from each other, and what is written instead.
    removed: Vec<(Range<usize>, &'static str)>,
}

impl Text {
    fn of(reason: &str) -> Self {
        let text: String = visible(&one_line(reason)).into_iter().collect();
        // Addresses as those write them who do not want them clicked.
        let mut text = one_line(&text);
        for (written, meant) in
            [("[.]", "."), ("(.)", "."), ("[dot]", "."), ("(dot)", "."), ("[:]", ":"), ("[@]", "@"), ("(@)", "@")]
        {
            text = text.replace(written, meant);
        }
        let chars: Vec<char> = text.replace("[at]", "@").replace("(at)", "@").chars().collect();
        let mut this = Self { chars, removed: Vec::new() };
        // The longest first: a link may hold an address, an address a number.
        this.remove(links, LINK);
        this.remove(emails, EMAIL);
        this.remove(uuids, ID);
        this.remove(secrets, TOKEN);
        this.remove(ips, IP);
        this
    }

    /// Removes what `find` finds in each part that is still there.
    fn remove(&mut self, find: fn(&[char]) -> Vec<Range<usize>>, placeholder: &'static str) {
        let found: Vec<_> = self
            .kept()
            .flat_map(|part| {
                let found = find(&self.chars[part.clone()]).into_iter();
                found.map(move |range| (range.start + part.start..range.end + part.start, placeholder))
            })
            .collect();
        self.removed.extend(found);
        self.removed.sort_by_key(|(range, _)| range.start);
    }

    /// The parts that are still there.
    fn kept(&self) -> impl Iterator<Item = Range<usize>> {
        let starts = std::iter::once(0).chain(self.removed.iter().map(|(range, _)| range.end));
        let ends = self.removed.iter().map(|(range, _)| range.start).chain([self.chars.len()]);
        starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| start..end)
    }

    /// Every piece that could be a name: from a place where a word may begin to one where it may end.
    fn pieces(&self) -> impl Iterator<Item = Range<usize>> {
        self.kept().flat_map(|part| {
            let ends: Vec<usize> = part.clone().chain([part.end]).filter(|at| self.is_edge(*at, &part)).collect();
            let pieces = ends.iter().enumerate().flat_map(|(first, start)| {
                let ends = ends[first + 1..].iter().take(2 * MAX_NAME_UNITS);
                ends.map(|end| *start..*end).take_while(|piece| self.units(piece) <= MAX_NAME_UNITS)
            });
            pieces.filter(|piece| self.is_whole(piece)).collect::<Vec<_>>()
        })
    }

    /// Whether a word may begin or end before this character: everywhere but within a word of a script that puts
    /// spaces between words. Korean does, too, but hangs its particles on to names.
    fn is_edge(&self, at: usize, part: &Range<usize>) -> bool {
        let in_word = |c: char| c.is_alphanumeric() && !is_dense(c);
        at == part.start || at == part.end || !(in_word(self.chars[at - 1]) && in_word(self.chars[at]))
    }

    /// Words, signs, and letters of scripts without spaces.
    fn units(&self, piece: &Range<usize>) -> usize {
        let edges = piece.clone().skip(1).filter(|at| self.is_edge(*at, piece)).count();
        let spaces = self.chars[piece.clone()].iter().filter(|c| c.is_whitespace()).count();
        (1 + edges).saturating_sub(spaces)
    }

    fn is_whole(&self, piece: &Range<usize>) -> bool {
        let chars = &self.chars[piece.clone()];
        let trimmed = !chars[0].is_whitespace() && !chars[chars.len() - 1].is_whitespace();
        trimmed && chars.iter().any(|c| c.is_alphanumeric()) && chars.iter().filter(|c| !c.is_whitespace()).count() >= 2
    }

    fn name_in(&self, piece: Range<usize>) -> String {
        self.chars[piece].iter().filter(|c| !c.is_whitespace()).flat_map(|c| c.to_lowercase()).collect()
    }

    fn cleaned(mut self, names: &BTreeSet<String>) -> CleanReason {
        let mut hits: Vec<Range<usize>> =
            self.pieces().filter(|piece| names.contains(&self.name_in(piece.clone()))).collect();
        hits.sort_by_key(|hit| (hit.start, std::cmp::Reverse(hit.end)));
        let mut merged: Vec<Range<usize>> = Vec::new();
        for hit in hits {
            match merged.last_mut() {
                Some(last) if hit.start < last.end => last.end = last.end.max(hit.end),
                _ => merged.push(hit),
            }
        }
        self.removed.extend(merged.into_iter().map(|hit| (hit, NAME)));
        self.removed.sort_by_key(|(range, _)| range.start);
        let mut text = String::new();
        let mut at = 0;
        for (range, placeholder) in &self.removed {
            text.extend(&self.chars[at..range.start]);
            text.push_str(placeholder);
            at = range.end;
        }
        text.extend(&self.chars[at..]);
        CleanReason(one_line(&text))
    }
}

/// Letters that stand side by side without spaces, or (Hangul) with particles right behind names.
fn is_dense(c: char) -> bool {
    matches!(c,
        '\u{E00}'..='\u{EFF}' | '\u{1000}'..='\u{109F}' | '\u{1100}'..='\u{11FF}' | '\u{1780}'..='\u{17FF}'
        | '\u{2E80}'..='\u{A4CF}' | '\u{A960}'..='\u{A97F}' | '\u{AC00}'..='\u{D7FF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFF}')
}

/// The longest runs of characters of a kind.
fn runs(text: &[char], of: impl Fn(char) -> bool) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = None;
    for (at, c) in text.iter().copied().chain(['\0']).enumerate() {
        let inside = at < text.len() && of(c);
        match (start, inside) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                runs.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    runs
}

/// Addresses of pages: mail programs make links of them. From the scheme, or `www.`, to the next space.
fn links(text: &[char]) -> Vec<Range<usize>> {
    let words = runs(text, |c| !c.is_whitespace() && !matches!(c, '‹' | '›' | '"'));
    let is_link = |word: &Range<usize>| {
        let lower: String = text[word.clone()].iter().flat_map(|c| c.to_lowercase()).collect();
        lower.contains("://") || lower.contains("www.")
    };
    words.into_iter().filter(is_link).collect()
}

fn in_domain(c: char) -> bool {
    c.is_alphanumeric() || is_combining_mark(c) || matches!(c, '.' | '-' | '_' | '\u{200C}' | '\u{200D}')
}

/// E-mail addresses, internationalised ones too: whatever stands on both sides of an `@`.
fn emails(text: &[char]) -> Vec<Range<usize>> {
    let ends_local = |c: char| matches!(c, '@' | '‹' | '›' | '(' | ')' | '[' | ']' | ',' | ';' | ':' | '"');
    let in_local = |c: char| !c.is_whitespace() && !ends_local(c);
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        // `%40` is how an address is written in links.
        let width = match text[at..] {
            ['@', ..] => 1,
            ['%', '4', '0', ..] => 3,
            _ => {
                at += 1;
                continue;
            }
        };
        let (mut left, mut right) = (at, at + width);
        // Around the sign there may be spaces, if what follows looks like a domain.
        let spaces_left = text[..left].iter().rev().take_while(|c| **c == ' ').count();
        let spaces_right = text[right..].iter().take_while(|c| **c == ' ').count();
        let domain_at = right + spaces_right;
        let domain = text[domain_at..].iter().take_while(|c| in_domain(**c)).count();
        if text[domain_at..domain_at + domain].contains(&'.') {
            (left, right) = (left - spaces_left, domain_at);
        }
        if left > 0 && text[left - 1] == '"' {
            // A quoted local part may hold anything.
            let open = text[..left - 1].iter().rposition(|c| *c == '"').unwrap_or(left - 1);
            left = open;
        } else {
            left -= text[..left].iter().rev().take_while(|c| in_local(**c)).count();
        }
        let literal = text.get(right) == Some(&'[');
        let end = if literal {
            text[right..].iter().position(|c| *c == ']').map_or(text.len(), |close| right + close + 1)
        } else {
            right + text[right..].iter().take_while(|c| in_domain(**c)).count()
        };
        if left < at && end > right {
            // The full stop of the sentence stays.
            let end = if text[end - 1] == '.' { end - 1 } else { end };
            let left = found.last().map_or(left, |last| left.max(last.end));
            found.push(left..end);
            at = end;
        } else {
            at += width;
        }
    }
    found
}

fn in_secret(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '=' | '~')
}

/// UUIDs, with everything that hangs on them.
fn uuids(text: &[char]) -> Vec<Range<usize>> {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    const CHARS: usize = 36;
    let is_uuid = |window: &[char]| {
        window.iter().enumerate().all(|(at, c)| if DASHES.contains(&at) { *c == '-' } else { c.is_ascii_hexdigit() })
    };
    let has_one = |run: &Range<usize>| text[run.clone()].windows(CHARS).any(is_uuid);
    runs(text, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).into_iter().filter(has_one).collect()
}

/// What looks like a token, a part of a JWT or a hash.
fn secrets(text: &[char]) -> Vec<Range<usize>> {
    let is_secret = |run: &Range<usize>| {
        let run = &text[run.clone()];
        let jwt = run.windows(3 + JWT_CHARS).any(|window| window[..3] == ['e', 'y', 'J'] && !window.contains(&'.'));
        // `a.b.c`, each long enough to be a part of a token rather than of a host's name.
        let parts: Vec<usize> = run.split(|c| *c == '.').map(<[char]>::len).collect();
        let dotted = parts.windows(3).any(|parts| parts.iter().all(|length| *length >= JWT_CHARS));
        let mixed = run.split(|c| matches!(c, '.' | '/')).any(|part| {
            let (digits, letters) = (part.iter().any(char::is_ascii_digit), part.iter().any(char::is_ascii_alphabetic));
            part.len() >= SECRET_CHARS && digits && letters
        });
        jwt || dotted || mixed
    };
    runs(text, in_secret).into_iter().filter(is_secret).collect()
}

/// IP addresses of either version, bracketed, with port, zone or prefix.
fn ips(text: &[char]) -> Vec<Range<usize>> {
    let in_ip = |c: char| c.is_ascii_hexdigit() || c.is_numeric() || matches!(c, ':' | '.');
    let mut found: Vec<Range<usize>> = Vec::new();
    for run in runs(text, in_ip) {
        let Some(core) = v6(text, &run).or_else(|| v4(text, &run)) else { continue };
        let start = if core.start > 0 && text[core.start - 1] == '[' { core.start - 1 } else { core.start };
        let mut end = core.end;
        if text.get(end) == Some(&'%') {
            end += text[end..].iter().take_while(|c| **c == '%' || in_secret(**c)).count();
        }
        if start < core.start && text.get(end) == Some(&']') {
            end += 1;
        }
        for sign in [':', '/'] {
            let digits = text.get(end + 1..).into_iter().flatten().take_while(|c| c.is_numeric()).count();
            if text.get(end) == Some(&sign) && digits > 0 {
                end += 1 + digits;
            }
        }
        let start = found.last().map_or(start, |last| start.max(last.end));
        if start < end {
            found.push(start..end);
        }
    }
    found
}

/// Seven colons or two in a row, with a hexadecimal digit: no time of day and no word has them.
fn v6(text: &[char], run: &Range<usize>) -> Option<Range<usize>> {
    let chars = &text[run.clone()];
    let colons = chars.iter().filter(|c| **c == ':').count();
    let short = chars.windows(2).any(|pair| pair == [':', ':']);
    let letter = |at: Option<&char>| at.is_some_and(char::is_ascii_alphabetic);
    let in_word = letter(run.start.checked_sub(1).map(|before| &text[before])) || letter(text.get(run.end));
    let digits = chars.iter().any(|c| c.is_numeric());
    // `std::vec` is no address, `d::1` is.
    let has_digits = digits || (!in_word && chars.iter().any(char::is_ascii_hexdigit));
    ((colons >= 7 || short) && has_digits).then(|| {
        let tail = chars.iter().rev().take_while(|c| **c == '.').count();
        run.start..run.end - tail
    })
}

/// Four numbers with dots between them, whatever stands around them.
fn v4(text: &[char], run: &Range<usize>) -> Option<Range<usize>> {
    let dotted = runs(&text[run.clone()], |c| c.is_numeric() || c == '.');
    let dotted = dotted.into_iter().map(|part| part.start + run.start..part.end + run.start);
    let trimmed = dotted.map(|part| {
        let head = text[part.clone()].iter().take_while(|c| **c == '.').count();
        let tail = text[part.clone()].iter().rev().take_while(|c| **c == '.').count();
        part.start + head..part.end.saturating_sub(tail).max(part.start + head)
    });
    let mut addresses = trimmed.filter(|part| {
        let numbers: Vec<usize> = text[part.clone()].split(|c| *c == '.').map(<[char]>::len).collect();
        numbers.windows(4).any(|four| four.iter().all(|length| *length > 0))
    });
    let first = addresses.next()?;
    // Several in one run have letters between them, which go with them.
    Some(first.start..addresses.next_back().map_or(first.end, |last| last.end))
}

#[cfg(test)]
mod tests;
