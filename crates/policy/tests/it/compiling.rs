//! A policy that is not fully understood is not accepted.

use mandate_policy::{MAX_POLICY_LEN, Policies, PolicyError, check_annotations};

fn refused(source: &str) -> PolicyError {
    let error = Policies::compile([("house-rules", source)]).unwrap_err();
    assert_eq!(error.policy, "house-rules");
    assert!(
        error
            .to_string()
            .starts_with(&format!("policy house-rules, line {}, column {}: ", error.line, error.column)),
        "{error}"
    );
    error
}

fn refused_at(source: &str, line: usize, column: usize, words: &str) {
    let error = refused(source);
    assert_eq!((error.line, error.column), (line, column), "{error}");
    assert!(error.message.contains(words), "{error}");
}

#[test]
fn an_unknown_attribute_is_refused_with_its_place() {
    refused_at(
        "// no rank\nforbid (principal is Agent, action, resource)\nwhen { principal.rank == 1 };",
        3,
        8,
        "rank",
    );
    refused_at("forbid (principal, action, resource) when { context.colour == \"red\" };", 1, 45, "colour");
}

#[test]
fn a_refusal_names_the_policy_as_its_author_does_and_not_by_a_number_of_cedars() {
    for source in [
        "forbid (principal, action, resource) when { context.colour == \"red\" };",
        "forbid (principal == Robot::\"r2\", action, resource);",
    ] {
        assert!(!refused(source).to_string().contains("policy0"), "{}", refused(source));
    }
}

#[test]
fn an_unknown_entity_type_is_refused_with_its_place() {
    refused_at("forbid (\n  principal == Robot::\"r2\",\n  action, resource);", 2, 16, "Robot");
}

#[test]
fn an_unknown_action_is_refused_with_its_place() {
    let source = "forbid (principal, action == Action::\"fly\", resource);";
    refused_at(source, 1, 30, "fly");
    refused_at(
        source,
        1,
        30,
        "the actions are delegate, act, act_alone, call, administer, approve and release",
    );
    let message = refused(source).message;
    assert!(!message.contains("did you mean"), "`act` and `call` are equally close: {message}");
}

#[test]
fn an_optional_fact_must_be_asked_for_before_it_is_used() {
    let error = refused("forbid (principal, action, resource) when { context.agent.owner == \"riley\" };");
    assert!(error.message.contains("agent"), "{error}");
    Policies::compile([("ok", "forbid (principal, action, resource) when { context has agent && context.agent.owner == \"riley\" };")])
        .unwrap();
}

#[test]
fn a_comparison_of_unlike_types_is_refused() {
    refused("forbid (principal, action, resource) when { context.depth == \"two\" };");
}

#[test]
fn a_syntax_error_is_refused_with_its_place_counted_in_characters() {
    refused_at("permit (principal, action, resource)\nwhen { context.scope == \"äöü\" ) };", 2, 31, ")");
    refused_at("permit (principal, action", 1, 26, "unexpected end");
}

#[test]
fn a_policy_that_can_never_apply_is_refused() {
    let error = refused("forbid (principal is Person, action == Action::\"act\", resource);");
    assert_eq!((error.line, error.column), (1, 1), "{error}");
}

#[test]
fn templates_nothing_and_too_much_are_refused() {
    assert!(refused("forbid (principal == ?principal, action, resource);").message.contains("template"));
    assert!(refused("").message.contains("no statement"));
    assert!(refused("// only a comment").message.contains("no statement"));
    let long = format!("// {}\nforbid (principal, action, resource);", "x".repeat(MAX_POLICY_LEN));
    assert!(refused(&long).message.contains("longer"));
}

#[test]
fn one_name_is_one_policy() {
    let forbid = "forbid (principal, action, resource);";
    let error = Policies::compile([("a", forbid), ("a", forbid)]).unwrap_err();
    assert_eq!(error.policy, "a");
    let error =
        Policies::compile([("built-in", "@id(\"beyond-the-grant\") permit (principal, action, resource);")])
            .unwrap_err();
    assert!(error.message.contains("already"), "the built-in policies cannot be replaced: {error}");
    let error = refused(
        "@id(\"x\") forbid (principal, action, resource); @id(\"x\") forbid (principal, action, resource);",
    );
    assert!(error.message.contains("house-rules#x"), "{error}");
}

#[test]
fn one_bad_policy_refuses_the_whole_set() {
    let error = Policies::compile([("good", "forbid (principal, action, resource);"), ("bad", "forbid")])
        .unwrap_err();
    assert_eq!(error.policy, "bad");
}

#[test]
fn what_is_deep_enough_to_exhaust_a_stack_is_refused_before_it_is_parsed() {
    let when = |body: String| format!("forbid (principal, action, resource) when {{ {body} }};");
    // The annotations are looked at before the policy is compiled.
    let refused = |source: String| {
        assert_eq!(check_annotations("deep", &format!("@aproval {source}")), Ok(()));
        refused(&source)
    };
    for (open, close) in [("(", ")"), ("[", "]"), ("{a:", "}"), ("!(", ")")] {
        let error = refused(when(format!("{}true{}", open.repeat(5000), close.repeat(5000))));
        assert!(error.message.contains("nested"), "{error}");
    }
    for chain in [" && context.egress", " + 1", ".a", " || if context.egress then true else true"] {
        let error = refused(when(format!("context.egress{}", chain.repeat(1000))));
        assert!(error.message.contains("operators"), "{error}");
    }
    let error = refused(when(format!("context.egress // {}\n", "x".repeat(MAX_POLICY_LEN))));
    assert!(error.message.contains("longer than"), "{error}");
}

#[test]
fn thousands_of_annotations_are_looked_up_in_one_reading_of_the_source() {
    let many = (0..6000).map(|n| format!("@x{n}")).collect::<Vec<_>>().concat();
    let source = format!("{many} permit (principal, action, resource);");
    assert!(source.len() < MAX_POLICY_LEN);
    let error = check_annotations("many", &source).unwrap_err();
    assert_eq!((error.line, error.column), (1, 1));
    assert!(error.message.contains("no annotation @x0:"), "{error}");
    let error = check_annotations(
        "apart",
        "permit (principal, action, resource);\n@ // a\nx\npermit (principal, action, resource);",
    )
    .unwrap_err();
    assert!(error.message.contains("no annotation @x:"), "{error}");
}

/// Cedar's validator silently stops when the stack runs low. Within our bounds it never does.
#[test]
fn the_deepest_policy_within_the_bounds_is_still_validated() {
    let on_small_stack = |source: String| {
        let compile =
            move || Policies::compile([("deep", source.as_str())]).map(|_| ()).map_err(|e| e.message);
        std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(compile).unwrap().join().unwrap()
    };
    let nested = |leaf: &str| {
        format!(
            "forbid (principal, action, resource) when {{ {}{leaf}{} }};",
            "(context.egress && (context.egress || ".repeat(15),
            "))".repeat(15)
        )
    };
    let chained = |leaf: &str| {
        format!("forbid (principal, action, resource) when {{ {leaf}{} }};", " && context.egress".repeat(98))
    };
    for shape in [nested, chained] as [fn(&str) -> String; 2] {
        assert_eq!(on_small_stack(shape("context.destructive")), Ok(()));
        let message = on_small_stack(shape("context.colour")).unwrap_err();
        assert!(message.contains("colour"), "{message}");
    }
}

#[test]
fn every_policy_that_is_refused_is_named_and_no_other() {
    let fine = "forbid (principal, action, resource) when { context.depth > 9 };";
    let refused = Policies::refused([("one", "permit ("), ("fine", fine), ("two", ""), ("built-in", fine)]);
    assert_eq!(
        refused.iter().map(|error| error.policy.as_str()).collect::<Vec<_>>(),
        ["one", "two", "built-in"]
    );
    assert!(Policies::refused([("fine", fine)]).is_empty());
}

#[test]
fn an_approval_is_required_by_a_permit_or_the_policy_is_refused() {
    for value in ["", "(\"\")", "(\"Required\")", "(\"optional\")"] {
        let error = refused(&format!("@approval{value} permit (principal, action, resource);"));
        assert!(error.message.contains("the one value"), "{value}: {error}");
    }
    assert!(
        refused(r#"@approval("required") forbid (principal, action, resource);"#)
            .message
            .contains("lifts no forbid")
    );
    let second = refused(
        r#"permit (principal, action, resource); @approval("no") permit (principal, action, resource);"#,
    );
    assert!(second.message.starts_with("house-rules#2: "), "{second}");
}

#[test]
fn a_policy_may_be_about_an_action_that_nobody_asks_about_yet() {
    for source in [
        "forbid (principal, action == Action::\"call\", resource) when { context.tool == \"send_mail\" && context.egress };",
        "permit (principal is Person, action == Action::\"administer\", resource) when { context.operation == \"revoke\" };",
        "forbid (principal, action == Action::\"approve\", resource) when { context has agent && context.agent.owner == principal.name };",
        "forbid (principal is Agent, action == Action::\"release\", resource) unless { context.connection == \"mail\" };",
    ] {
        Policies::compile([("extra", source)]).unwrap();
    }
    refused(
        "forbid (principal, action == Action::\"act\", resource) when { context.tool == \"send_mail\" };",
    );
    refused("forbid (principal is Agent, action == Action::\"administer\", resource);");
}

#[test]
fn an_annotation_that_nothing_reads_is_found_with_its_place_and_the_name_that_was_meant() {
    let check = |source: &str| check_annotations("mine", source);
    for fine in [
        "permit (principal, action, resource);",
        r#"@id("a") @approval("required") permit (principal, action, resource);"#,
        r#"// @aproval("required") in a comment
        permit (principal, action, resource) when { context.note == "@aproval" };"#,
        "this does not parse @x",
    ] {
        assert_eq!(check(fine), Ok(()), "{fine}");
    }
    for (annotation, meant) in [
        ("aproval", "did you mean @approval?"),
        ("Approval", "did you mean @approval?"),
        ("approved", "did you mean @approval?"),
        ("requires_approval", "did you mean @approval?"),
        ("ID", "did you mean @id?"),
        ("description", "as a comment, with //"),
    ] {
        let source = format!(
            "@id(\"a\")\n  @{annotation}(\"required\")\npermit (principal, action, resource);\n@id(\"b\") forbid (principal, action, resource);"
        );
        let error = check(&source).unwrap_err();
        assert_eq!((error.policy.as_str(), error.line, error.column), ("mine", 2, 3), "{error}");
        assert!(
            error.message.contains(&format!("there is no annotation @{annotation}:"))
                && error.message.contains(meant),
            "{error}"
        );
    }
    assert!(
        !check("@description(\"x\") permit (principal, action, resource);")
            .unwrap_err()
            .message
            .contains("mean")
    );
}
