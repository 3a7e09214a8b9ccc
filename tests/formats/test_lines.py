import pytest

from vmprobe.errors import FormatError
from vmprobe.formats.lines import U32_LAST, U64_LAST, Line, split

LINE = Line("vmstat", 3, "nr_free_pages 5")

NOT_NUMBERS = ["", "-1", "+1", " 1", "1 ", "1_0", "0x1", "1e3", "1.0", "٣", "²", "one", "1\u2028"]


@pytest.mark.parametrize("word", [*NOT_NUMBERS, str(U64_LAST + 1), "9" * 21, "0" * 21, "9" * 100_000])
@pytest.mark.parametrize("read", [Line.unsigned, Line.counter])
def test_only_ascii_digits_of_64_bits_are_unsigned(read, word):
    with pytest.raises(FormatError, match=r"^vmstat, line 3: expected a counter, found "):
        read(LINE, word, "a counter")


def test_an_error_shows_place_expectation_and_the_whole_line():
    with pytest.raises(FormatError) as caught:
        LINE.unsigned("x" * 50, "a counter")
    error = caught.value
    assert str(error) == (f"vmstat, line 3: expected a counter, found '{'x' * 32}…': 'nr_free_pages 5'")
    assert (error.file, error.line, error.text) == ("vmstat", 3, "nr_free_pages 5")


def test_unsigned_keeps_the_bound_of_its_type():
    assert LINE.unsigned(str(U64_LAST), "a counter") == U64_LAST
    assert LINE.unsigned(str(U32_LAST), "a pid", U32_LAST) == U32_LAST
    with pytest.raises(FormatError):
        LINE.unsigned(str(U32_LAST + 1), "a pid", U32_LAST)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("0", 0),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), -(2**63)),
        (str(2**64 - 1), -1),
        (str(2**64 - 4096), -4096),
    ],
)
def test_a_wrapped_counter_is_negative(word, value):
    assert LINE.counter(word, "a counter") == value


@pytest.mark.parametrize(
    ("word", "value"), [("-2", -2), ("0", 0), ("32767", 32767), (str(-(2**31)), -(2**31))]
)
def test_signed_is_a_c_int(word, value):
    assert LINE.signed(word, "a priority") == value


@pytest.mark.parametrize("word", ["", "-", "--1", "- 1", "1_0", "+1", str(2**31), str(-(2**31) - 1), "٣"])
def test_signed_refuses_what_no_c_int_prints(word):
    with pytest.raises(FormatError):
        LINE.signed(word, "a priority")


@pytest.mark.parametrize("word", ["", "0x1", "FF", "-1", "1_0", "g", "f" * 17, " 1"])
def test_hexadecimal_refuses_what_the_kernel_never_prints(word):
    with pytest.raises(FormatError):
        LINE.hexadecimal(word, "an address")


def test_hexadecimal_reaches_the_last_address():
    assert LINE.hexadecimal("f" * 16, "an address") == U64_LAST


def test_only_newlines_end_a_line():
    odd = "a\rb\x0bc\x0cd\x1ce\x85f\u2028g"
    assert split(f"{odd}\nnext\n".encode(), "status") == [odd, "next"]


def test_no_data_is_no_line():
    assert split(b"", "maps") == []


def test_a_cut_off_last_line_is_named():
    with pytest.raises(FormatError) as caught:
        split(b"one\ntw", "maps")
    assert str(caught.value) == "maps, line 2: expected a newline at the end, the file is cut off: 'tw'"


@pytest.mark.parametrize(
    "text", ["", "Node", "Node 0 zone DMA", "Node x, zone DMA", "node 0, zone DMA", "Node 0, zone "]
)
def test_zone_needs_node_and_name(text):
    with pytest.raises(FormatError, match="expected `Node N, zone NAME`"):
        Line("buddyinfo", 1, text).zone()
