from xml.etree import ElementTree

from mlff_md.report.junit import to_junit

from .samples import hostile_report, sample_report


def test_one_case_for_each_check(failing):
    suite = ElementTree.fromstring(to_junit(failing)).find("testsuite")
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [check.id for check in failing.checks]
    assert suite.get("tests") == str(len(cases))
    assert suite.get("failures") == "2"
    failures = [case.find("failure") for case in cases if case.find("failure") is not None]
    assert len(failures) == 2
    assert failures[1].get("message") == failing.checks[1].summary


def test_inconclusive_is_skipped():
    root = ElementTree.fromstring(to_junit(sample_report("inconclusive")))
    assert root.get("skipped") == "2"
    assert root.get("failures") == "0"
    assert len(root.findall(".//skipped")) == 2
    assert root.findall(".//failure") == []


def test_hostile_text_gives_valid_xml():
    root = ElementTree.fromstring(to_junit(hostile_report()))
    message = root.find(".//failure").get("message")
    assert "<script>alert(1)</script>" in message
    assert "\x00" not in message
