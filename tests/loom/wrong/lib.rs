//! The gallery of wrong fixes: each is a patch on a shipped stage, so it cannot drift from it. The macro applies the
//! patches while the model tests are compiled; a patch that does not fit is a compile error that names it.

use std::fmt::Write;
use std::path::Path;

use proc_macro::{TokenStream, TokenTree};

use patch::Patch;

mod patch;

/// `wrong_fixes! { stage3_fixed { one_read, no_rdhup }, … }`: for each name `wrong/stage3/NAME.patch`, applied to
/// `lab/stages/stage3_fixed.rs`, becomes a module `stage3_fixed::NAME`. `ALL` lists them, as `Wrong`s that the caller
/// defines.
#[proc_macro]
pub fn wrong_fixes(input: TokenStream) -> TokenStream {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    let code = listed(input).and_then(|stages| modules(Path::new(&root), &stages));
    let code = code.unwrap_or_else(|why| format!("compile_error!({why:?});"));
    code.parse().expect("a stage is Rust before it is patched, and a patch that breaks its brackets is not")
}

/// The stages, each with the names of its patches.
fn listed(input: TokenStream) -> Result<Vec<(String, Vec<String>)>, String> {
    let mut stages = Vec::new();
    let mut tokens = input.into_iter();
    while let Some(token) = tokens.next() {
        match (token, tokens.next()) {
            (TokenTree::Ident(stage), Some(TokenTree::Group(names))) => {
                let names = names.stream().into_iter().filter(|token| !matches!(token, TokenTree::Punct(_)));
                stages.push((stage.to_string(), names.map(|name| name.to_string()).collect()));
            }
            (token, _) => return Err(format!("expected `stage {{ name, … }}`, found `{token}`")),
        }
        if let Some(TokenTree::Punct(_)) = tokens.clone().next() {
            tokens.next();
        }
    }
    Ok(stages)
}

fn modules(root: &Path, stages: &[(String, Vec<String>)]) -> Result<String, String> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"));
    // Cargo compiles again when a file changes that was included.
    let included =
        |path: &str| format!("const _: &str = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/{path}\"));");
    let (mut code, mut all) = (String::new(), String::new());
    for (stage, names) in stages {
        let shipped = format!("lab/stages/{stage}.rs");
        let source = read(&shipped)?;
        let folder = stage.split('_').next().unwrap_or(stage);
        let mut variants = included(&shipped);
        for name in names {
            let path = format!("tests/loom/wrong/{folder}/{name}.patch");
            let wrong = |why| format!("{path}: {why}");
            let patch = Patch::parse(&read(&path)?).map_err(wrong)?;
            if patch.stage != *stage {
                return Err(wrong(format!("it is listed under {stage}, and says `stage: {}`", patch.stage)));
            }
            let patched = patch.apply(&source).map_err(wrong)?;
            patched.parse::<TokenStream>().map_err(|error| wrong(format!("the result is not Rust: {error}")))?;
            writeln!(variants, "{}\npub mod {name} {{\n{patched}\n}}", included(&path)).expect("a string has room");
            let Patch { why, diff, .. } = patch;
            writeln!(
                all,
                "Wrong {{ name: {name:?}, stage: {stage:?}, why: {why:?}, diff: {diff:?}, serve: {stage}::{name}::serve }},"
            )
            .expect("a string has room");
        }
        writeln!(code, "pub mod {stage} {{\n{variants}\n}}").expect("a string has room");
    }
    Ok(format!("{code}\n/// All of them.\npub const ALL: &[Wrong] = &[\n{all}];"))
}
