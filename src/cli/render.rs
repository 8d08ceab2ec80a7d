//! Diagnostics on standard error.
//!
//! The plain form is the contract, the same for every reader and every log. On
//! a terminal the same words come in colours, and a place in a text file comes
//! with its line.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use ohmc::diagnostic::{Diagnostic, Explain, Place, Severity};

use super::files;

/// Shows everything that an error has to say.
pub fn show(error: &dyn Explain) {
    show_all(&error.diagnostics());
}

/// Shows diagnostics, one after the other.
pub fn show_all(diagnostics: &[Diagnostic]) {
    let colours = wants_colours();
    for diagnostic in diagnostics {
        let shown = harmless(diagnostic);
        let text = if colours { coloured(&shown) } else { shown.to_string() };
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// Colours are for people, and only for those who did not decline.
fn wants_colours() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stderr().is_terminal() && !is_set("NO_COLOR") && !dumb
}

/// The diagnostic without control characters, which names in a model or a file
/// could smuggle to the terminal.
fn harmless(diagnostic: &Diagnostic) -> Diagnostic {
    let clean = |text: &String| -> String {
        let escaped = |c: char| match c {
            '\n' => "\n".to_string(),
            c if c.is_control() => c.escape_default().to_string(),
            c => c.to_string(),
        };
        text.chars().map(escaped).collect()
    };
    Diagnostic {
        severity: diagnostic.severity,
        message: clean(&diagnostic.message),
        places: diagnostic
            .places
            .iter()
            .map(|place| Place {
                file: clean(&place.file),
                position: place.position,
                what: clean(&place.what),
            })
            .collect(),
        notes: diagnostic.notes.iter().map(clean).collect(),
        helps: diagnostic.helps.iter().map(clean).collect(),
    }
}

fn coloured(diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()));
    for place in &diagnostic.places {
        group = match quote(place) {
            Some(snippet) => group.element(snippet),
            None => without_line(group, place),
        };
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    for help in &diagnostic.helps {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    Renderer::styled().render(&[group])
}

/// The line that a place means, with a mark under it, if the file can be read.
fn quote(place: &Place) -> Option<Snippet<'_, annotate_snippets::Annotation<'_>>> {
    let (line, column) = place.position?;
    let text = files::read_text(Path::new(&place.file), "text").ok()?;
    let quoted = text.lines().nth(line.checked_sub(1)?)?.to_string();
    let column = column.saturating_sub(1);
    let start = quoted.char_indices().nth(column).map_or(quoted.len(), |(at, _)| at);
    let word = quoted[start..].find([':', ' ', '#']).unwrap_or(quoted.len() - start);
    let end = start + word;
    let mark = AnnotationKind::Primary.span(start..end).label(place.what.clone());
    Some(Snippet::source(quoted).line_start(line).path(place.file.as_str()).annotation(mark))
}

fn without_line<'a>(group: Group<'a>, place: &'a Place) -> Group<'a> {
    let file = match place.what.as_str() {
        "" => place.file.clone(),
        what => format!("{}: {what}", place.file),
    };
    let origin = Origin::path(file);
    group.element(match place.position {
        Some((line, column)) => origin.line(line).char_column(column),
        None => origin,
    })
}

#[cfg(test)]
mod tests {
    //! Both forms say the same.

    use super::*;

    #[test]
    fn colours_change_no_word() {
        let diagnostic = Diagnostic::error("layer `conv4` needs 36 PEs")
            .at("vgg.onnx", "node `conv4` (Conv)")
            .note("36 = 9 x 4")
            .help("choose a larger target");
        let text = coloured(&diagnostic);
        for words in [
            "error",
            "layer `conv4` needs 36 PEs",
            "vgg.onnx: node `conv4` (Conv)",
            "36 = 9 x 4",
            "choose a larger target",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
    }

    #[test]
    fn names_cannot_command_the_terminal() {
        let diagnostic = Diagnostic::error("node `\u{1b}[2J`").note("a\nb");
        let shown = harmless(&diagnostic).to_string();
        assert!(!shown.contains('\u{1b}') && shown.contains("a\nb"), "{shown}");
    }
}
