//! The tokens of a source file without its tests.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// `tokens` without the items with `#[cfg(test)]`; empty if the whole file is a test.
pub(super) fn outside_tests(tokens: TokenStream) -> TokenStream {
    let mut kept = Vec::new();
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        match token {
            TokenTree::Punct(ref hash) if hash.as_char() == '#' => {
                let inner = rest.next_if(|next| is_punct(next, '!'));
                let attribute = rest.next_if(|next| matches!(next, TokenTree::Group(_)));
                if attribute.as_ref().is_some_and(is_cfg_test) {
                    if inner.is_some() {
                        return TokenStream::new();
                    }
                    while rest.next().is_some_and(|next| !ends_item(&next)) {}
                } else {
                    kept.push(token);
                    kept.extend(inner);
                    kept.extend(attribute);
                }
            }
            TokenTree::Group(group) => {
                let mut within = proc_macro2::Group::new(group.delimiter(), outside_tests(group.stream()));
                within.set_span(group.span());
                kept.push(TokenTree::Group(within));
            }
            token => kept.push(token),
        }
    }
    kept.into_iter().collect()
}

/// The numbers of the lines with code, which are neither blank nor comments.
pub(super) fn code_lines(tokens: &TokenStream) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    let mut rest = tokens.clone().into_iter().peekable();
    while let Some(token) = rest.next() {
        if is_punct(&token, '#') {
            let inner = rest.next_if(|next| is_punct(next, '!'));
            if rest.next_if(is_doc).is_some() {
                continue;
            }
            lines.extend(inner.map(|token| token.span().start().line));
        }
        if let TokenTree::Group(group) = &token {
            lines.extend([group.span_open().start().line, group.span_close().end().line]);
            lines.extend(code_lines(&group.stream()));
        } else {
            let span = token.span();
            lines.extend(span.start().line..=span.end().line);
        }
    }
    lines
}

/// The paths in `tokens`, as written: `crate::store::Store`, `entry`, without fields and methods, which follow a dot.
pub(super) fn paths(tokens: &TokenStream) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    collect_paths(tokens, &mut found);
    found
}

fn collect_paths(tokens: &TokenStream, found: &mut Vec<Vec<String>>) {
    let mut path: Vec<String> = Vec::new();
    // The number of colons and dots immediately before: a path continues after two colons, a field or method follows one dot.
    let (mut colons, mut dots) = (0, 0);
    for token in tokens.clone() {
        match token {
            TokenTree::Ident(name) => {
                let goes_on = colons == 2 && !path.is_empty();
                if !goes_on {
                    found.extend(Some(std::mem::take(&mut path)).filter(|path| !path.is_empty()));
                }
                if goes_on || (dots != 1 && colons != 2) {
                    path.push(name.to_string());
                }
                (colons, dots) = (0, 0);
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            other => {
                found.extend(Some(std::mem::take(&mut path)).filter(|path| !path.is_empty()));
                (colons, dots) = (0, if is_punct(&other, '.') { dots + 1 } else { 0 });
                match other {
                    TokenTree::Group(group) => collect_paths(&group.stream(), found),
                    // `#[serde(default = "crate::defaults::port")]`
                    TokenTree::Literal(text) => {
                        let text = text.to_string();
                        let names: Vec<&str> = text.trim_matches('"').split("::").collect();
                        let is_name = |name: &&str| syn::parse_str::<syn::Ident>(name).is_ok();
                        if let Some((&("crate" | "super"), rest)) = names.split_first()
                            && rest.iter().all(is_name)
                        {
                            found.push(names.into_iter().map(str::to_owned).collect());
                        }
                    }
                    TokenTree::Punct(_) | TokenTree::Ident(_) => {}
                }
            }
        }
    }
    found.extend(Some(path).filter(|path| !path.is_empty()));
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn is_cfg_test(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

fn is_doc(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    matches!(group.stream().into_iter().next(), Some(TokenTree::Ident(name)) if name == "doc")
}

fn ends_item(token: &TokenTree) -> bool {
    is_punct(token, ';') || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}
