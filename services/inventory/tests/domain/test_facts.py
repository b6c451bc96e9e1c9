"""What a host says about itself is cleaned, bounded, and never fails an enroll."""

from hypothesis import given
from hypothesis import strategies as st
from inventory.domain.builtin_labels import LABEL_ID, builtin_labels
from inventory.domain.facts import BIGINT_MAX, clean, facts_of, number, os_version_text
from inventory.domain.platforms import normalise

UBUNTU = {
    "name": "Ubuntu", "version": "22.04.4 LTS (Jammy Jellyfish)", "major": "22", "minor": "4", "patch": "0",
    "build": "", "platform": "ubuntu", "platform_like": "debian", "codename": "jammy",
}  # fmt: skip


def names(labels: frozenset[int]) -> set[str]:
    by_id = {label_id: name for name, label_id in LABEL_ID.items()}
    return {by_id[label_id] for label_id in labels}


def test_the_padding_of_a_cpu_brand_is_stripped():
    facts = facts_of({"system_info": {"cpu_brand": "Example CPU" + "\x00" * 37}}, "9", "")

    assert facts["cpu_brand"] == "Example CPU"


def test_long_text_is_cut():
    assert len(clean("x" * 10_000)) == 255


def test_a_missing_table_leaves_its_facts_out():
    assert facts_of({}, "", "") == {}


def test_a_missing_column_leaves_its_fact_out():
    assert "hostname" not in facts_of({"system_info": {"uuid": "u"}}, "9", "")


def test_a_placeholder_serial_is_emptied():
    for serial in ("To be filled: Default string", "System Serial Number", "SERIAL"):
        assert facts_of({"system_info": {"hardware_serial": serial}}, "9", "")["hardware_serial"] == ""


def test_serial_minus_one_leaves_the_serial_unchanged():
    assert "hardware_serial" not in facts_of({"system_info": {"hardware_serial": "-1"}}, "9", "")


def test_an_empty_platform_with_centos_in_the_name_is_centos():
    assert facts_of({"os_version": {"name": "CentOS Linux", "platform": ""}}, "9", "")["platform"] == "centos"


def test_without_os_version_the_bit_mask_tells_windows_and_macos():
    assert facts_of({}, "2", "")["platform"] == "windows"
    assert facts_of({}, "21", "")["platform"] == "darwin"


def test_the_operating_system_reads_as_people_know_it():
    assert os_version_text(UBUNTU) == "Ubuntu 22.04.4 LTS"
    assert os_version_text({"name": "macOS", "major": "14", "minor": "5", "patch": "0"}) == "macOS 14.5.0"
    assert os_version_text({"name": "Debian GNU/Linux", "major": "0", "version": "12 (bookworm)"}) == (
        "Debian GNU/Linux 12"
    )


def test_numbers_are_bounded_and_garbage_is_zero():
    assert number("33345650688") == 33345650688
    assert number("9" * 40) <= BIGINT_MAX
    assert [number(text) for text in ("", "-1", "1e3", "²", "x")] == [0, 0, 0, 0, 0]


@given(st.text())
def test_any_platform_becomes_a_short_safe_word(text):
    platform = normalise(text)

    assert len(platform) <= 32
    assert all(character in "abcdefghijklmnopqrstuvwxyz0123456789_.-" for character in platform)


@given(st.dictionaries(st.sampled_from(["os_version", "osquery_info", "system_info", "x"]), st.dictionaries(
    st.sampled_from(["name", "major", "platform", "version", "hardware_serial", "physical_memory", "uuid"]), st.text()
)), st.text(), st.text())  # fmt: skip
def test_no_host_details_are_refused_and_all_facts_can_be_stored(details, platform_type, address):
    for value in facts_of(details, platform_type, address).values():
        assert isinstance(value, int) or ("\x00" not in value and len(value) <= 255)
        if isinstance(value, str):
            value.encode()


def test_an_ubuntu_host_is_in_its_labels():
    facts = facts_of({"os_version": UBUNTU}, "9", "")

    assert names(builtin_labels(facts)) == {"All Hosts", "All Linux", "Ubuntu Linux"}


def test_a_new_mac_is_in_the_sonoma_label_and_an_old_one_is_not():
    new = facts_of({"os_version": {"platform": "darwin", "name": "macOS", "major": "14"}}, "21", "")
    old = facts_of({"os_version": {"platform": "darwin", "name": "macOS", "major": "13"}}, "21", "")

    assert names(builtin_labels(new)) == {"All Hosts", "macOS", "macOS 14+ (Sonoma+)"}
    assert names(builtin_labels(old)) == {"All Hosts", "macOS"}


def test_fedora_reports_rhel_and_is_told_by_its_name():
    facts = facts_of({"os_version": {"platform": "rhel", "name": "Fedora Linux"}}, "9", "")

    assert names(builtin_labels(facts)) == {"All Hosts", "All Linux", "Fedora Linux"}


def test_red_hat_and_centos_are_told_by_their_names():
    red_hat = facts_of({"os_version": {"platform": "rhel", "name": "Red Hat Enterprise Linux"}}, "9", "")
    centos = facts_of({"os_version": {"platform": "rhel", "name": "CentOS Stream"}}, "9", "")

    assert names(builtin_labels(red_hat)) == {"All Hosts", "All Linux", "Red Hat Linux"}
    assert names(builtin_labels(centos)) == {"All Hosts", "All Linux", "CentOS Linux"}


def test_an_unknown_distribution_counts_as_linux_when_its_osquery_says_so():
    assert names(builtin_labels({"platform": "frobnix"}, says_linux=True)) == {"All Hosts", "All Linux"}


def test_a_windows_host_is_in_its_label():
    assert names(builtin_labels({"platform": "windows"})) == {"All Hosts", "MS Windows"}
