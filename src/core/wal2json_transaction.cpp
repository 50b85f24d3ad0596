#include "core/wal2json_transaction.hpp"

#include "core/error.hpp"

#include <charconv>
#include <chrono>

namespace livemigrate {

namespace {

constexpr std::string_view kActionPrefix = "{\"action\":\"";

[[noreturn]] void
ThrowMalformed(const char *what) {
    throw Error(sqlstate::kProtocolViolation,
                std::string("wal2json transaction message has ") + what);
}

// Of numbers, null, true and false.
bool
IsWordByte(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '+' || c == '.' ||
           c == 'E';
}

// Goes through {"name":value,...} where a value is a string without escapes or a bare word.
class FlatObjectReader {
  public:
    explicit FlatObjectReader(std::string_view text) : rest_(text) { Expect('{'); }

    // The next member, strings without their quotes; false behind the last one.
    bool
    Next(std::string_view &name, std::string_view &value) {
        if (!first_) {
            if (Take('}')) {
                ExpectEnd();
                return false;
            }
            Expect(',');
        }
        first_ = false;
        name = ReadString();
        Expect(':');
        value = !rest_.empty() && rest_.front() == '"' ? ReadString() : ReadWord();
        return true;
    }

  private:
    bool
    Take(char wanted) {
        if (rest_.empty() || rest_.front() != wanted) {
            return false;
        }
        rest_.remove_prefix(1);
        return true;
    }

    void
    Expect(char wanted) {
        if (!Take(wanted)) {
            ThrowMalformed("invalid syntax");
        }
    }

    void
    ExpectEnd() const {
        if (!rest_.empty()) {
            ThrowMalformed("bytes behind its end");
        }
    }

    std::string_view
    ReadString() {
        Expect('"');
        const size_t length = rest_.find('"');
        if (length == std::string_view::npos ||
            rest_.substr(0, length).find('\\') != std::string_view::npos) {
            ThrowMalformed("an invalid string");
        }
        const std::string_view text = rest_.substr(0, length);
        rest_.remove_prefix(length + 1);
        return text;
    }

    std::string_view
    ReadWord() {
        size_t length = 0;
        while (length < rest_.size() && IsWordByte(rest_[length])) {
            length++;
        }
        if (length == 0) {
            ThrowMalformed("an invalid value");
        }
        const std::string_view word = rest_.substr(0, length);
        rest_.remove_prefix(length);
        return word;
    }

    std::string_view rest_;
    bool first_ = true;
};

Lsn
ParsePosition(std::string_view text) {
    try {
        return Lsn::Parse(text);
    } catch (const Error &) {
        ThrowMalformed("an invalid position");
    }
}

uint32_t
ParseXid(std::string_view text) {
    uint32_t xid = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), xid);
    if (error != std::errc() || stop != text.data() + text.size()) {
        ThrowMalformed("an invalid transaction ID");
    }
    return xid;
}

// Reads "2026-11-22 15:39:33.123456+00", which timestamptz_to_str() prints in ISO style whatever
// DateStyle says, but in the walsender's time zone.
class TimestampReader {
  public:
    explicit TimestampReader(std::string_view text) : rest_(text) {}

    int64_t
    Read() {
        const int64_t days = ReadDays();
        Expect(' ');
        const int64_t microseconds = ReadTimeOfDay();
        const int64_t offset = ReadOffset();
        if (!rest_.empty()) { // " BC", which no commit is
            ThrowInvalid();
        }
        constexpr int64_t kSecondsPerDay = 86400;
        return (days * kSecondsPerDay - offset) * kMicroseconds + microseconds;
    }

  private:
    static constexpr int64_t kMicroseconds = 1000000;

    [[noreturn]] static void
    ThrowInvalid() {
        ThrowMalformed("an invalid timestamp");
    }

    void
    Expect(char wanted) {
        if (rest_.empty() || rest_.front() != wanted) {
            ThrowInvalid();
        }
        rest_.remove_prefix(1);
    }

    int
    ReadNumber(size_t min_digits, size_t max_digits, int max) {
        size_t length = 0;
        int number = 0;
        while (length < rest_.size() && length < max_digits && rest_[length] >= '0' &&
               rest_[length] <= '9') {
            number = number * 10 + (rest_[length] - '0');
            length++;
        }
        if (length < min_digits || number > max) {
            ThrowInvalid();
        }
        rest_.remove_prefix(length);
        return number;
    }

    // Days since 2000-01-01.
    int64_t
    ReadDays() {
        using std::chrono::day, std::chrono::month, std::chrono::year;
        constexpr int kLastYear = 32767; // of std::chrono; the calendar is the same
        const year y(ReadNumber(4, 6, kLastYear));
        Expect('-');
        const month m(static_cast<unsigned>(ReadNumber(2, 2, 12)));
        Expect('-');
        const day d(static_cast<unsigned>(ReadNumber(2, 2, 31)));
        const std::chrono::year_month_day date(y, m, d);
        if (!date.ok()) {
            ThrowInvalid();
        }
        const auto epoch = std::chrono::sys_days(year(2000) / 1 / 1);
        return (std::chrono::sys_days(date) - epoch).count();
    }

    // Microseconds since midnight; the fraction has no trailing zeros.
    int64_t
    ReadTimeOfDay() {
        int64_t seconds = ReadNumber(2, 2, 23) * 3600;
        Expect(':');
        seconds += ReadNumber(2, 2, 59) * 60;
        Expect(':');
        seconds += ReadNumber(2, 2, 60);
        int64_t fraction = 0;
        if (!rest_.empty() && rest_.front() == '.') {
            rest_.remove_prefix(1);
            const size_t before = rest_.size();
            fraction = ReadNumber(1, 6, 999999);
            for (size_t digits = before - rest_.size(); digits < 6; digits++) {
                fraction *= 10;
            }
        }
        return seconds * kMicroseconds + fraction;
    }

    // Seconds east of UTC: +hh[:mm[:ss]].
    int64_t
    ReadOffset() {
        if (rest_.empty() || (rest_.front() != '+' && rest_.front() != '-')) {
            ThrowInvalid();
        }
        const int sign = rest_.front() == '+' ? 1 : -1;
        rest_.remove_prefix(1);
        int64_t seconds = ReadNumber(2, 3, 167) * 3600;
        for (const int unit : {60, 1}) {
            if (!rest_.empty() && rest_.front() == ':') {
                rest_.remove_prefix(1);
                seconds += ReadNumber(2, 2, 59) * unit;
            }
        }
        return sign * seconds;
    }

    std::string_view rest_;
};

} // namespace

char
Wal2jsonAction(std::string_view payload) {
    const size_t at = kActionPrefix.size();
    if (payload.size() < at + 2 || payload.substr(0, at) != kActionPrefix ||
        payload[at + 1] != '"') {
        return 0;
    }
    return payload[at];
}

Wal2jsonTransaction
ParseWal2jsonTransaction(std::string_view payload) {
    enum Field : unsigned { kAction = 1, kLsn = 2, kNextLsn = 4, kTimestamp = 8, kXid = 16 };
    unsigned seen = 0;
    // A field twice is an error: which of the two would count?
    const auto mark = [&seen](Field field) {
        if ((seen & field) != 0) {
            ThrowMalformed("a field twice");
        }
        seen |= field;
    };
    Wal2jsonTransaction transaction;
    FlatObjectReader reader(payload);
    std::string_view name;
    std::string_view value;
    while (reader.Next(name, value)) {
        if (name == "action") {
            mark(kAction);
        } else if (name == "lsn") {
            mark(kLsn);
            transaction.commit_lsn = ParsePosition(value);
        } else if (name == "nextlsn") {
            mark(kNextLsn);
            transaction.end_lsn = ParsePosition(value);
        } else if (name == "timestamp") {
            mark(kTimestamp);
            transaction.commit_time = TimestampReader(value).Read();
        } else if (name == "xid") {
            mark(kXid);
            transaction.xid = ParseXid(value);
        }
    }
    if (seen != (kAction | kLsn | kNextLsn | kTimestamp | kXid)) {
        ThrowMalformed("not all of lsn, nextlsn, timestamp and xid");
    }
    if (!transaction.commit_lsn.valid() || transaction.end_lsn <= transaction.commit_lsn) {
        ThrowMalformed("impossible positions");
    }
    return transaction;
}

} // namespace livemigrate
