use super::*;

fn nodes(count: usize) -> Vec<MatrixNode> {
    let node = |i| MatrixNode { name: format!("p{i}"), peer: Some(format!("http://h:{i}")) };
    (1..=count).map(node).collect()
}

#[test]
fn lines_and_json_are_read() {
    for text in ["0 0.5\n1.0 0\n", "# to p1, to p2\n\n 0,0.5\n1 , 0.0", "[[0, 0.5], [1, 0.0]]"] {
        let square: Square<Probability> = Square::read(text, 2).unwrap();
        assert_eq!(square.to_string(), "0.00 0.50\n1.00 0.00\n", "{text}");
    }
    for text in ["0 20~5\n7 0", "[[0, \"20~5\"], [7, \"0\"]]"] {
        let square: Square<Delay> = Square::read(text, 2).unwrap();
        assert_eq!(square.to_string(), "0 20~5\n7 0\n", "{text}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, expected) in [
        ("0 0", "1 rows, not 2: one for each node"),
        ("0 0\n0", "row 1 has 1 values, not 2: one for each node"),
        ("0 0\n0 1.5", "row 1, column 1: 1.5 is not from 0 to 1"),
        ("0 -0.1\n0 0", "row 0, column 1: -0.1 is not from 0 to 1"),
        ("0 NaN\n0 0", "row 0, column 1: NaN is not from 0 to 1"),
        ("0 x\n0 0", "row 0, column 1: x is not a number"),
        ("[[0, true], [0, 0]]", "row 0, column 1: true is not a number"),
    ] {
        let error = Square::<Probability>::read(text, 2).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    for (text, value) in [("0 5~6\n0 0", "5~6"), ("0 60001\n0 0", "60001"), ("0 ~\n0 0", "~")] {
        let error = Square::<Delay>::read(text, 2).unwrap_err().to_string();
        assert!(error.starts_with(&format!("row 0, column 1: {value} is not")), "{error}");
    }
    let sent = r#"{"version":1,"nodes":[{"name":"a"},{"name":"b"}],"drop":[[0,0],[2,0]]}"#;
    let error = serde_json::from_str::<ConnectionMatrix>(sent).unwrap_err().to_string();
    assert!(error.starts_with("row 1, column 0: 2 is not from 0 to 1"), "{error}");
    let sent = r#"{"version":1,"nodes":[{"name":"a"},{"name":"a"}],"drop":[[0,0],[0,0]]}"#;
    let error = serde_json::from_str::<ConnectionMatrix>(sent).unwrap_err().to_string();
    assert!(error.starts_with("nodes: two are called \"a\""), "{error}");
    assert!(ConnectionMatrix::healthy(1, nodes(65)).is_err());
}

#[test]
fn a_matrix_survives_its_json() {
    let mut matrix = ConnectionMatrix::healthy(7, nodes(3)).unwrap();
    assert!(matrix.is_healthy());
    matrix.drop.set(0, 1, "0.25".parse().unwrap());
    matrix.delay.set(2, 0, "20~5".parse().unwrap());
    assert!(!matrix.is_healthy());
    let text = serde_json::to_string(&matrix).unwrap();
    assert_eq!(serde_json::from_str::<ConnectionMatrix>(&text).unwrap(), matrix);
}

#[test]
fn verdicts_follow_the_dice() {
    let mut matrix = ConnectionMatrix::healthy(1, nodes(2)).unwrap();
    matrix.drop.set(0, 1, "0.6".parse().unwrap());
    matrix.delay.set(1, 0, "20~5".parse().unwrap());
    for (from, to, dice, expected) in [
        (0, 1, [0.599, 0.0], Verdict::Drop),
        (0, 1, [0.6, 0.0], Verdict::Deliver),
        (1, 0, [0.0, 0.0], Verdict::Delay(Duration::from_millis(15))),
        (1, 0, [0.0, 0.5], Verdict::Delay(Duration::from_millis(20))),
        (0, 0, [0.0, 0.5], Verdict::Deliver),
    ] {
        assert_eq!(matrix.verdict(from, to, dice), expected);
    }
    matrix.drop.set(0, 1, Probability::ALWAYS);
    assert_eq!(matrix.verdict(0, 1, [0.999_999, 0.0]), Verdict::Drop);
}

#[test]
fn nodes_are_isolated_and_groups_kept_apart() {
    let mut matrix = ConnectionMatrix::healthy(1, nodes(3)).unwrap();
    matrix.isolate(1);
    assert_eq!(matrix.drop.to_string(), "0.00 1.00 0.00\n1.00 0.00 1.00\n0.00 1.00 0.00\n");
    matrix.partition(&[vec![0, 1]]);
    assert_eq!(matrix.drop.to_string(), "0.00 0.00 1.00\n0.00 0.00 1.00\n1.00 1.00 0.00\n");
    matrix.heal();
    assert!(matrix.is_healthy());
    assert_eq!(matrix.place_of("p3"), Some(2));
    assert_eq!(matrix.place_of_peer("http://h:2"), Some(1));
}
