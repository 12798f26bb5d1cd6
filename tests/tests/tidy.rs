//! The house rules that no compiler checks: who may import whom, which files may name a clock, how long a file is.
//!
//! Each test reads the sources as text, with comments and string literals taken out, and fails with one line per
//! finding: file, line, and what the rule is for. A rule that is in the way is changed here, in a commit of its
//! own, and not worked around.
//!
//! Deliberately absent: anything that rustc, clippy or rustfmt can say better.
#![allow(clippy::unwrap_used, reason = "a rule that cannot be checked fails")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Each package, its directory, and the packages of this workspace that it may depend on.
const ARROWS: &[(&str, &str, &[&str])] = &[
    ("kontiki-raft", "raft", &[]),
    ("kontiki-net", "net", &["kontiki-raft"]),
    ("kontiki", "engine", &["kontiki-raft", "kontiki-net"]),
    ("raft-bench", "bench", &["kontiki-raft", "kontiki-net", "kontiki"]),
    ("kontiki-tools", "tools", &["kontiki-raft", "kontiki-net", "kontiki"]),
    (
        "kontiki-tests",
        "tests",
        &["kontiki-raft", "kontiki-net", "kontiki", "raft-bench", "kontiki-tools"],
    ),
];

/// Libraries that only some packages may depend on, because one file of theirs is where they belong.
const GUARDED: &[(&str, &[&str])] = &[("mio", &["net"]), ("rocksdb", &["engine", "bench"])];

/// Files and directories that decide, and so may not name what does.
const DECIDING: &[&str] = &[
    "raft/src",
    "engine/src/shard",
    "engine/src/support",
    "engine/src/keys.rs",
    "engine/src/range.rs",
    "net/src/conn.rs",
    "net/src/conn",
    "net/src/peer.rs",
    "net/src/peer",
];

/// What a deciding file may not name.
const DOING: &[&str] =
    &["thread", "Instant", "SystemTime", "TcpStream", "TcpListener", "mio", "rocksdb"];

const LINES_MAX: usize = 800;

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the package lies in the workspace").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The files below `dir` with this extension, in order.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file of the workspace, relative to its root.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut all = Vec::new();
    for (_, dir, _) in ARROWS {
        for path in files(&root.join(dir), "rs") {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            all.push((name, read(&path)));
        }
    }
    assert!(all.len() > 30, "only {} source files found: the walk is broken", all.len());
    all
}

/// The text without comments and without what is inside string and character literals; lines stay lines.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + find(rest, b"*/").map_or(rest.len(), |i| i + 2)
        } else if let Some(hashes) = raw_string(bytes, at) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            at + open
                + find(&rest[open..], close.as_bytes())
                    .map_or(rest.len() - open, |i| i + close.len())
        } else if rest[0] == b'"' {
            at + quoted(rest)
        } else if rest.len() > 2 && rest[0] == b'\'' && (rest[2] == b'\'' || rest[1] == b'\\') {
            // The character after a backslash may itself be a quote.
            let from = if rest[1] == b'\\' { 3 } else { 2 };
            let close = rest.iter().skip(from).position(|&b| b == b'\'');
            at + close.map_or(rest.len(), |i| from + i + 1)
        } else {
            out.push(char::from(rest[0]));
            at += 1;
            continue;
        };
        out.extend(bytes[at..end].iter().filter(|&&b| b == b'\n').map(|_| '\n'));
        out.push(' ');
        at = end;
    }
    out
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The number of hashes when a raw string begins at `at`.
fn raw_string(bytes: &[u8], at: usize) -> Option<usize> {
    let inside_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    let starts = bytes[at] == b'r' && (!inside_word || bytes[at - 1] == b'b');
    let hashes = bytes[at + 1..].iter().take_while(|&&b| b == b'#').count();
    (starts && bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

/// The length of the string literal at the beginning of `rest`, its quotes included.
fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The part of a file that is built into the product: without the unit tests at its end.
fn product_only(code: &str) -> &str {
    code.find("#[cfg(test)]\nmod tests").map_or(code, |at| &code[..at])
}

/// Whether `line` has `word` as a whole identifier.
fn names(line: &str, word: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(in_word) && !line[at + word.len()..].starts_with(in_word)
    })
}

/// Fails with all findings at once.
fn settle(rule: &str, findings: &[String]) {
    let mut text = String::new();
    for finding in findings {
        writeln!(text, "  {finding}").unwrap();
    }
    assert!(findings.is_empty(), "{rule}:\n{text}");
}

/// The dependencies of a manifest: the names under every `[…dependencies]` table.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let parts: Vec<&str> = table.split('.').collect();
            inside = parts.last().is_some_and(|p| p.ends_with("dependencies"));
            // `[dependencies.name]` is a dependency of its own.
            if parts.len() > 1 && parts[parts.len() - 2].ends_with("dependencies") {
                found.push(parts[parts.len() - 1].to_owned());
            }
        } else if inside && !line.starts_with('#') {
            let name: String =
                line.chars().take_while(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
            if !name.is_empty() {
                found.push(name);
            }
        }
    }
    found
}

#[test]
fn imports_point_one_way() {
    let root = root();
    let mut findings = Vec::new();
    for (package, dir, allowed) in ARROWS {
        let manifest = read(&root.join(dir).join("Cargo.toml"));
        for dependency in dependencies(&manifest) {
            let ours = ARROWS.iter().any(|(name, _, _)| *name == dependency);
            if ours && dependency != *package && !allowed.contains(&dependency.as_str()) {
                findings
                    .push(format!("{dir}/Cargo.toml: {package} may not depend on {dependency}"));
            }
            for (library, places) in GUARDED {
                if dependency == *library && !places.contains(dir) {
                    findings
                        .push(format!("{dir}/Cargo.toml: {library} belongs to {places:?} alone"));
                }
            }
        }
        if !manifest.contains("[lints]\nworkspace = true") {
            findings.push(format!("{dir}/Cargo.toml: says `[lints] workspace = true`"));
        }
    }
    settle("raft <- net <- engine <- {bench, tools, tests}", &findings);
}

#[test]
fn raft_has_no_dependencies_and_no_std() {
    let root = root();
    let manifest = read(&root.join("raft/Cargo.toml"));
    let table = manifest.split("[dependencies]").nth(1).unwrap_or("");
    let table = table.split("\n[").next().unwrap_or("");
    let lines: Vec<&str> =
        table.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    assert!(lines.is_empty(), "raft/Cargo.toml: the core has no dependencies, not even {lines:?}");
    let lib = read(&root.join("raft/src/lib.rs"));
    for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        assert!(lib.contains(attribute), "raft/src/lib.rs: says {attribute}");
    }
}

#[test]
fn what_decides_does_not_name_what_does() {
    let mut findings = Vec::new();
    for (name, text) in sources() {
        let decides = DECIDING.iter().any(|place| {
            name.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if !decides || name.ends_with("/tests.rs") || name.contains("/tests/") {
            continue;
        }
        for (at, line) in product_only(&code_only(&text)).lines().enumerate() {
            for word in DOING.iter().filter(|word| names(line, word)) {
                findings.push(format!("{name}:{}: names `{word}`", at + 1));
            }
        }
    }
    settle("files that decide know no thread, clock, socket or database", &findings);
}

#[test]
fn only_the_event_loop_names_mio() {
    let mut findings = Vec::new();
    for (name, text) in sources() {
        if name == "net/src/event_loop.rs" || name.starts_with("net/src/event_loop/") {
            continue;
        }
        for (at, line) in code_only(&text).lines().enumerate() {
            if names(line, "mio") {
                findings.push(format!("{name}:{}: names `mio`", at + 1));
            }
        }
    }
    settle("only net/src/event_loop.rs names mio", &findings);
}

#[test]
fn files_are_short_and_open_with_a_header() {
    let mut findings = Vec::new();
    for (name, text) in sources() {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            findings.push(format!("{name}: {lines} lines; look for the second idea in it"));
        }
        if !text.starts_with("//! ") {
            findings.push(format!("{name}: opens with `//!`: what it is and why it is so"));
        }
    }
    settle("one idea a file, and it says which", &findings);
}

#[test]
fn nothing_is_left_to_be_done() {
    const BANNED: &[(&str, &str)] = &[
        ("todo!", "finish it, or leave it out"),
        ("unimplemented!", "finish it, or leave it out"),
        ("#[ignore", "a test that does not run proves nothing"),
        ("thread::sleep", "wait for an event, not for time"),
        ("sleep_ms", "wait for an event, not for time"),
    ];
    let mut findings = Vec::new();
    for (name, text) in sources() {
        for (at, line) in code_only(&text).lines().enumerate() {
            for (banned, why) in BANNED.iter().filter(|(banned, _)| line.contains(banned)) {
                findings.push(format!("{name}:{}: `{banned}`: {why}", at + 1));
            }
        }
    }
    settle("no loose ends", &findings);
}

#[test]
fn documents_name_files_that_exist() {
    let root = root();
    let mut documents = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    documents.extend([root.join("CHANGELOG.md")]);
    documents.extend(files(&root.join("docs"), "md"));
    let mut findings = Vec::new();
    for document in documents {
        let name = document.strip_prefix(&root).unwrap().display().to_string();
        let Ok(text) = fs::read_to_string(&document) else {
            findings.push(format!("{name} does not exist"));
            continue;
        };
        let dir = document.parent().expect("a file lies in a directory");
        for (at, line) in text.lines().enumerate() {
            for target in links(line).into_iter().filter(|t| !dir.join(t).exists()) {
                findings
                    .push(format!("{name}:{}: links to {target}, which does not exist", at + 1));
            }
            for path in paths(line).into_iter().filter(|p| !root.join(p).exists()) {
                findings.push(format!("{name}:{}: names {path}, which does not exist", at + 1));
            }
        }
    }
    settle("documents tell of today's files", &findings);
}

/// The targets of Markdown links to files, without their anchors.
fn links(line: &str) -> Vec<&str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let targets = targets.map(|t| t.split('#').next().unwrap_or(t).trim());
    targets.filter(|t| !t.is_empty() && !t.contains("://") && !t.starts_with("mailto:")).collect()
}

/// Paths of sources and documents in backticks.
fn paths(line: &str) -> Vec<&str> {
    let quoted = line.split('`').skip(1).step_by(2);
    let ours = |p: &&str| ARROWS.iter().any(|(_, dir, _)| p.starts_with(&format!("{dir}/")));
    let plain = |p: &&str| !p.contains([' ', '*', '{', '<', '…']);
    let file = |p: &&str| {
        [".rs", ".md", ".toml", ".txt"].iter().any(|end| p.ends_with(end)) || p.ends_with('/')
    };
    quoted.filter(ours).filter(plain).filter(file).collect()
}

#[test]
fn the_reader_of_sources_sees_code_and_nothing_else() {
    let code = code_only(
        "let a = \"thread \\\" mio\"; // mio\nlet b = 'm'; /* mio */ r#\"mio\"#; mio::x();\n",
    );
    assert_eq!(code.lines().count(), 2);
    assert!(!names(code.lines().next().unwrap(), "mio"));
    assert_eq!(code.matches("mio").count(), 1);
    assert!(!names("let premium = tokio_mio_x;", "mio"));
    assert!(names("use mio::Poll;", "mio"));
    assert_eq!(code_only("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
    assert_eq!(code_only("'\\n' b'\\'' 'x'").trim(), "b");
    assert_eq!(links("see [a](b.md#c) and [d](https://e)"), ["b.md"]);
    assert_eq!(paths("in `engine/src/lib.rs` and `cargo x`"), ["engine/src/lib.rs"]);
}
