//! The example of a deploy program that ships with the package, and attacks of a pusher on it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::world::{Host, WorkingCopy, packaging, run, spawn, succeeds, text};

const URL: &str = "git@host:app.git";
/// Longer than the script takes for anything within its limits, on a machine that also compiles.
const REFUSES_WITHIN_S: u64 = 60;

/// A host that deploys with the example, changed by `change`.
fn host_changed(change: impl Fn(String) -> String) -> Host {
    let host = Host::start();
    let sites = host.path("sites");
    let example = packaging("examples/deploy-static-site");
    let example = example.replace("${SITES:-/srv/sites}", sites.to_str().unwrap());
    let program = host.write("deploy", &change(example));
    host.set(&format!("create = \"first-push\"\n[deploy]\nprogram = \"{}\"\n", program.display()));
    host
}

fn host() -> Host {
    host_changed(|example| example)
}

#[track_caller]
fn pushes(host: &Host, copy: &WorkingCopy, url: &str, refspec: &str) -> String {
    succeeds(host.git(copy.path(), &["push", "--force", url, refspec]))
}

/// All published files, each beginning with its site's name.
fn published(host: &Host) -> Vec<String> {
    let live = host.path("sites/live");
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> =
        fs::read_dir(&live).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(&live).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    files
}

/// The id of an object that git would not create itself.
fn object(host: &Host, copy: &WorkingCopy, kind: &str, content: &[u8]) -> String {
    let mut git = spawn(host.git(copy.path(), &["hash-object", "-t", kind, "-w", "--literally", "--stdin"]));
    git.stdin.take().unwrap().write_all(content).unwrap();
    text(&git.wait_with_output().unwrap().stdout)
}

/// A tree with `entries` of mode, name and id. Names are not checked.
fn tree(host: &Host, copy: &WorkingCopy, entries: &[(&str, &[u8], &str)]) -> String {
    let mut content = Vec::new();
    for (mode, name, id) in entries {
        content.extend([mode.as_bytes(), b" ", name, b"\0"].concat());
        let byte = |place: usize| u8::from_str_radix(id.get(place..place + 2).unwrap(), 16).unwrap();
        content.extend((0..id.len()).step_by(2).map(byte));
    }
    object(host, copy, "tree", &content)
}

fn commit(host: &Host, copy: &WorkingCopy, tree: &str) -> String {
    text(&run(host.git(copy.path(), &["commit-tree", "-m", "x", tree])).stdout)
}

#[test]
fn a_branch_is_published_unchanged_and_atomically() {
    let host = host();
    let copy = host.copy("copy", URL);
    fs::create_dir(copy.path().join("css")).unwrap();
    copy.commits(&host, "css/style.css", "p {}\n");
    copy.commits(&host, "with space.txt", "text\n");
    let said = pushes(&host, &copy, URL, "main");
    assert!(
        said.contains("remote: deploy: published 3 files at ") && said.contains("/live/acct_7@app"),
        "{said}"
    );
    let site = host.path("sites/live/acct_7@app");
    assert_eq!(fs::read_to_string(site.join("index.html")).unwrap(), "<p>hello</p>\n");
    assert_eq!(fs::read_to_string(site.join("css/style.css")).unwrap(), "p {}\n");

    copy.commits(&host, "index.html", "<p>again</p>\n");
    pushes(&host, &copy, URL, "main");
    assert_eq!(fs::read_to_string(site.join("index.html")).unwrap(), "<p>again</p>\n");
    assert_eq!(
        fs::read_dir(host.path("sites/builds/acct_7@app")).unwrap().count(),
        1,
        "no older one is left"
    );

    fs::remove_file(copy.path().join("index.html")).unwrap();
    copy.commits(&host, "more", "");
    let said = pushes(&host, &copy, URL, "main");
    assert!(said.contains("remote: deploy: the site stays: there is no index.html"), "{said}");
    assert_eq!(fs::read_to_string(site.join("index.html")).unwrap(), "<p>again</p>\n");
    let said = pushes(&host, &copy, URL, "main:other");
    assert!(said.contains("`other`: stored, and not deployed"), "{said}");
    assert_eq!(
        fs::read_dir(host.path("sites/builds/acct_7@app")).unwrap().count(),
        1,
        "nothing of it is left"
    );
}

#[test]
fn sites_of_repositories_that_contain_each_others_names_stay_apart() {
    let host = host();
    let copy = host.copy("copy", URL);
    let url = |name: &str| format!("git@host:{name}.git");
    for (name, content) in [("site", "1"), ("site/blog", "2"), ("two/blog", "3"), ("two", "4"), ("site", "5")]
    {
        copy.commits(&host, "index.html", content);
        pushes(&host, &copy, &url(name), "main");
    }
    let site =
        |name: &str| fs::read_to_string(host.path("sites/live").join(name).join("index.html")).unwrap();
    assert_eq!(
        ["acct_7@site", "acct_7@site@blog", "acct_7@two@blog", "acct_7@two"].map(site),
        ["5", "2", "3", "4"]
    );
    // Another account's repository of the same name is another site.
    copy.commits(&host, "index.html", "6");
    succeeds(host.git_of("ben", copy.path(), &["push", &url("site"), "main"]));
    assert_eq!(["acct_7@site", "acct_8@site"].map(site), ["5", "6"]);
}

#[test]
fn a_site_belongs_to_its_repository_and_not_to_the_pusher() {
    let host = host();
    host.write("ask", "#!/bin/sh\necho shared/$3.git\n");
    let deploy = host.path("deploy");
    let settings = format!(
        "create = \"first-push\"\nauthorize = \"{}\"\n[deploy]\nprogram = \"{}\"\n",
        host.path("ask").display(),
        deploy.display()
    );
    host.set(&settings);
    let copy = host.copy("copy", URL);
    pushes(&host, &copy, URL, "main");
    copy.commits(&host, "index.html", "ben's");
    succeeds(host.git_of("ben", copy.path(), &["push", URL, "main"]));
    assert_eq!(published(&host), ["shared@app/index.html"]);
    assert_eq!(fs::read_to_string(host.path("sites/live/shared@app/index.html")).unwrap(), "ben's");
    // Paths of the operator with other characters could collide.
    host.write("ask", "#!/bin/sh\necho \"shared/a@b.git\"\n");
    let said = pushes(&host, &copy, URL, "main");
    assert!(said.contains("deploy: the repository's path is no name for a site"), "{said}");
}

/// A line break in a name once became a line of a list, which could then name any file of the host.
#[test]
fn no_file_name_reads_or_writes_a_file_of_the_host() {
    let host = host();
    let copy = host.copy("copy", URL);
    let secret = host.path("secret");
    fs::write(&secret, "secret").unwrap();
    let bait = |name: &Path| {
        let path = copy.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "bait").unwrap();
    };
    let absolute = secret.to_str().unwrap();
    for name in [
        format!("x\n{absolute}"),
        format!("x\n-t{}", host.path("root").display()),
        format!("-t{absolute}"),
        "--target-directory=x".to_owned(),
        "-rf".to_owned(),
        "a b\tc".to_owned(),
        "\u{1b}[2J".to_owned(),
        "$(touch ran)`touch ran`;touch ran".to_owned(),
        "*".to_owned(),
        "ende\n".to_owned(),
        "complete".to_owned(),
        "complete\nwithin".to_owned(),
    ] {
        bait(Path::new(&name));
    }
    copy.commits(&host, "last", "");
    let said = pushes(&host, &copy, URL, "main");
    assert!(said.contains("deploy: published 14 files"), "{said}");
    let files = published(&host);
    assert_eq!(files.len(), 14, "{files:?}");
    for file in &files {
        let content = fs::read_to_string(host.path("sites/live").join(file)).unwrap();
        assert_ne!(content, "secret", "{file:?}");
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    assert!(!host.repository().join("ran").exists());
    let mut root: Vec<_> =
        fs::read_dir(host.path("root")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    root.sort();
    assert_eq!(root, [".pushkeys", "acct_7"]);
}

#[test]
fn links_submodules_and_hidden_files_are_left_out() {
    let host = host();
    let copy = host.copy("copy", URL);
    symlink("/etc/passwd", copy.path().join("passwd")).unwrap();
    symlink("/etc", copy.path().join("etc")).unwrap();
    symlink("index.html", copy.path().join("inside")).unwrap();
    fs::create_dir_all(copy.path().join(".well-known")).unwrap();
    fs::write(copy.path().join(".well-known/x"), "x").unwrap();
    fs::write(copy.path().join(".htaccess"), "x").unwrap();
    // A filter of the host's own configuration would be run.
    fs::write(copy.path().join(".gitattributes"), "* filter=lfs\n").unwrap();
    copy.commits(&host, "page.html", "x");
    let id = copy.head(&host);
    succeeds(
        host.git(copy.path(), &["update-index", "--add", "--cacheinfo", &format!("160000,{id},module")]),
    );
    succeeds(host.git(copy.path(), &["commit", "--quiet", "-m", "module"]));
    let said = pushes(&host, &copy, URL, "main");
    assert!(
        said.contains("deploy: published 2 files") && said.contains("left out 6 hidden files and links"),
        "{said}"
    );
    assert_eq!(published(&host), ["acct_7@app/index.html", "acct_7@app/page.html"]);
    assert!(!host.path("sites/live/acct_7@app/module").exists());
}

#[test]
fn names_that_git_would_not_create_are_refused() {
    let host = host();
    let copy = host.copy("copy", URL);
    pushes(&host, &copy, URL, "main");
    let before = published(&host);
    let blob = object(&host, &copy, "blob", b"bait");
    let link = object(&host, &copy, "blob", host.path("root").to_str().unwrap().as_bytes());
    let inner = tree(&host, &copy, &[("100644", b"file", &blob)]);
    let index = ("100644", &b"index.html"[..], &*blob);
    for evil in [
        vec![index, ("40000", b"..", &*inner)],
        vec![index, ("100644", b"../file", &*blob)],
        vec![("100644", b"/file", &*blob), index],
        vec![("40000", b".git", &*inner), index],
        vec![("40000", b".GIT", &*inner), index],
        vec![("40000", b"git~1", &*inner), index],
        vec![("100644", b".", &*blob), index],
    ] {
        let commit = commit(&host, &copy, &tree(&host, &copy, &evil));
        let push =
            run(host.git(copy.path(), &["push", "--force", URL, &format!("{commit}:refs/heads/main")]));
        let said = text(&push.stderr);
        assert!(said.contains("deploy: the site stays: "), "{evil:?}: {said}");
        assert_eq!(published(&host), before, "{evil:?}");
        assert!(!host.path("root/file").exists() && !host.path("sites/file").exists(), "{evil:?}");
    }
    // A file that would be written through a symbolic link.
    let evil = [("120000", &b"a"[..], &*link), ("40000", b"a", &*inner), index];
    let commit = commit(&host, &copy, &tree(&host, &copy, &evil));
    pushes(&host, &copy, URL, &format!("{commit}:refs/heads/main"));
    assert!(!host.path("root/file").exists());
    assert_eq!(published(&host), ["acct_7@app/a/file", "acct_7@app/index.html"]);
}

#[test]
fn files_bytes_depth_and_paths_are_limited_before_anything_is_written() {
    let host = host_changed(|example| {
        example.replace("ENTRIES_MAX=20000", "ENTRIES_MAX=200").replace("MIB_MAX=1024", "MIB_MAX=2")
    });
    let copy = host.copy("copy", URL);
    pushes(&host, &copy, URL, "main");
    let before = published(&host);
    let empty = object(&host, &copy, "blob", b"");
    let nest = |inner: &str, count: usize, of: usize| {
        (0..count).fold(inner.to_owned(), |inner, _| {
            let names: Vec<String> = (0..of).map(|number| format!("d{number}")).collect();
            let entries: Vec<_> =
                names.iter().map(|name| ("40000", name.as_bytes(), inner.as_str())).collect();
            tree(&host, &copy, &entries)
        })
    };
    let files: Vec<String> = (0..9).map(|number| format!("f{number}")).collect();
    let files: Vec<_> = files.iter().map(|name| ("100644", name.as_bytes(), empty.as_str())).collect();
    let (leaf, hollow) = (tree(&host, &copy, &files), tree(&host, &copy, &[]));
    let large = object(&host, &copy, "blob", &vec![0; 1 << 20]);
    let long = vec![b'x'; 240];
    let long = (0..5).fold(leaf.clone(), |inner, _| tree(&host, &copy, &[("40000", &long, &inner)]));
    let three =
        tree(&host, &copy, &[("100644", b"a", &large), ("100644", b"b", &large), ("100644", b"c", &large)]);
    for (bomb, why) in [
        (nest(&leaf, 7, 9), "it has more than 200 files and folders"),
        (nest(&hollow, 7, 9), "it has more than 200 files and folders"),
        (three, "it has more than 2 MiB"),
        (nest(&leaf, 40, 1), "folders are nested more than 32 deep"),
        (long, "a path has more than 1000 bytes"),
    ] {
        let commit = commit(&host, &copy, &bomb);
        let begin = std::time::Instant::now();
        let said = pushes(&host, &copy, URL, &format!("{commit}:refs/heads/main"));
        assert!(said.contains(&format!("deploy: the site stays: {why}")), "{said}");
        assert!(begin.elapsed().as_secs() < REFUSES_WITHIN_S, "{why}: {:?}", begin.elapsed());
        assert_eq!(published(&host), before);
        assert_eq!(fs::read_dir(host.path("sites/builds/acct_7@app")).unwrap().count(), 1);
    }
}

#[test]
fn of_two_concurrent_pushes_the_later_one_is_published() {
    let host = host_changed(|example| example.replace("\nnew=\"$(mktemp", "\nsleep 1\nnew=\"$(mktemp"));
    let copy = host.copy("copy", URL);
    pushes(&host, &copy, URL, "main");
    copy.commits(&host, "index.html", "first");
    let first = spawn(host.git(copy.path(), &["push", URL, "main"]));
    crate::world::until("the first is stored", || {
        crate::world::revision(&host, &host.repository(), "main") == copy.head(&host)
    });
    copy.commits(&host, "index.html", "second");
    let second = pushes(&host, &copy, URL, "main");
    assert!(first.wait_with_output().unwrap().status.success(), "{second}");
    assert_eq!(fs::read_to_string(host.path("sites/live/acct_7@app/index.html")).unwrap(), "second");
}
