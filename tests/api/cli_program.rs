//! The program by itself: exit codes, what it prints where, and configuration.

use crate::support::program::Program;
use crate::support::serve::Serve;

#[test]
fn exit_codes_tell_scripts_what_happened() {
    let nobody = r#"{"issuer":"http://127.0.0.1:1","admin":"http://127.0.0.1:1","client_id":"x","client_secret":"y"}"#;
    let program = Program::new()
        .file("good.toml", "[tokens]\nttl = \"5m\"\n", 0o644)
        .file("bad.toml", "[tokens]\nttl = \"5 parsecs\"\n", 0o644)
        .file("open.json", nobody, 0o644)
        .file("mine.json", nobody, 0o600);
    for (line, code) in [
        ("--help", 0),
        ("--version", 0),
        ("help client create", 0),
        ("completions bash", 0),
        ("check", 0),
        ("check --config good.toml", 0),
        ("", 2),
        ("frobnicate", 2),
        ("client delete svc --credentials mine.json", 2),
        ("revoke --client svc --credentials mine.json", 2),
        ("token get --issuer http://127.0.0.1:1 --client-id x", 2),
        ("client list --credentials mine.json --server not-a-url", 2),
        ("check --config bad.toml", 64),
        ("check --config missing.toml", 64),
        ("check --listen-public 0.0.0.0:8080", 64),
        ("client list", 65),
        ("client list --credentials open.json", 65),
        ("token inspect -", 65),
        ("client list --credentials mine.json", 69),
        ("token inspect - --issuer http://127.0.0.1:1", 65),
    ] {
        let run = program.run(line);
        assert_eq!(run.code, code, "edi {line}: {run:?}");
        assert_eq!(run.err.is_empty(), code == 0, "edi {line}: {run:?}");
        assert!(code == 0 || run.out.is_empty(), "errors go to standard error alone: edi {line}: {run:?}");
    }
}

#[test]
fn configuration_problems_are_told_at_once_with_their_origins() {
    let program = Program::new()
        .file("config/edi.toml", "[tokens]\ntll = \"5m\"\nmax_ttl = \"1h\"\n", 0o644)
        .env("EDI__TOKENS__TTL", "2h")
        .env("EDI__LISTEN__PUBLIC", "0.0.0.0:8080");
    let run = program.run("check --log-format xml");
    assert_eq!(
        run.err,
        "error: the configuration has 4 problems\n  \
         tokens.tll in config/edi.toml: unknown key; did you mean `tokens.ttl`?\n  \
         listen.public = \"0.0.0.0:8080\" from EDI__LISTEN__PUBLIC: plain HTTP beyond loopback: give edi a certificate \
         (listen.tls = \"on\"), or let a proxy in front encrypt and say so with listen.tls = \"off-behind-proxy\"\n  \
         tokens.ttl = \"2h\" from EDI__TOKENS__TTL: tokens.ttl = 2h is longer than tokens.max_ttl = 1h\n  \
         log.format = \"xml\" from a flag: expected auto, pretty or json\n  \
         next: every key with its default: config/edi.toml; judge again without serving: `edi check`\n"
    );
    let run = program.run("check --json --log-format xml");
    assert_eq!((run.code, run.json()["ok"].as_bool(), run.err.as_str()), (64, Some(false), ""));
    assert_eq!(run.json()["problems"][0]["key"], "tokens.tll");
}

#[test]
fn check_says_what_would_be_served() {
    let program =
        Program::new().env("EDI_CONFIG", "here.toml").file("here.toml", "issuer = \"http://edi.svc\"\n", 0o644);
    let run = program.run("check --json");
    assert_eq!(run.json()["issuer"], "http://edi.svc");
    assert!(run.json()["remarks"][0].as_str().unwrap().contains("plain HTTP"));
    assert!(program.run("check").err.starts_with("note: issuer http://edi.svc is plain HTTP"));
}

#[test]
fn missing_credentials_say_where_they_come_from() {
    let program = Program::new().env("EDI__KEYS__OPERATOR_FILE", "elsewhere/me.json");
    let run = program.run("status");
    assert_eq!(
        run.err,
        "error: there are no credentials at elsewhere/me.json\n  next: `edi serve` writes them at its first start; run \
         this command in its folder, or set EDI_CREDENTIALS to the file. Lost? `edi recover` makes others\n"
    );
}

#[test]
fn a_server_that_is_not_there_is_told_apart_from_a_refusal() {
    let nobody = r#"{"issuer":"http://127.0.0.1:1","admin":"http://127.0.0.1:1","client_id":"x","client_secret":"y"}"#;
    let run = Program::new().file("keys/operator.json", nobody, 0o600).run("status");
    assert_eq!(run.code, 69);
    assert!(run.err.contains("the issuer http://127.0.0.1:1 cannot be reached"), "{run:?}");
    assert!(run.err.contains("`edi serve`"), "{run:?}");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let run = Program::new().run(&format!("completions {shell}"));
        assert!(run.out.contains("deployment") && run.out.contains("revoke"), "{shell}");
    }
}

#[cfg(target_env = "gnu")]
#[test]
fn serving_goes_on_in_the_same_process_with_an_allocator_that_gives_memory_back() {
    let folder = tempfile::TempDir::new().unwrap();
    let edi = Serve::start(folder.path(), &Serve::free_addresses());
    assert_eq!(edi.variable("MALLOC_TRIM_THRESHOLD_").as_deref(), Some("1048576"));
    edi.stop();
}
