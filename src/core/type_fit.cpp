#include "core/type_fit.hpp"

#include "core/sql_text.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

namespace livemigrate {

namespace {

using Kind = TypeFit::Kind;

// Types that PostgreSQL casts into one another in an assignment, so that ALTER TABLE does.
enum class Family : uint8_t {
    kOther,
    kInteger,
    kDecimal,
    kText,
    kMoment,
    kClock,
    kBits,
    kJson,
    kAddress
};

struct KnownType {
    std::string_view name;
    Family family;
    int size; // kInteger: decimal digits; kText: most bytes; float: bits that are exact
};

constexpr int kUnlimited = -1;

constexpr std::array kKnownTypes = {
    KnownType{"int2", Family::kInteger, 5},
    KnownType{"int4", Family::kInteger, 10},
    KnownType{"int8", Family::kInteger, 19},
    KnownType{"numeric", Family::kDecimal, 0},
    KnownType{"float4", Family::kDecimal, 24},
    KnownType{"float8", Family::kDecimal, 53},
    KnownType{"money", Family::kDecimal, 0},
    KnownType{"text", Family::kText, kUnlimited},
    KnownType{"varchar", Family::kText, kUnlimited},
    KnownType{"bpchar", Family::kText, kUnlimited},
    KnownType{"name", Family::kText, 63},
    KnownType{"char", Family::kText, 1},
    KnownType{"date", Family::kMoment, 0},
    KnownType{"timestamp", Family::kMoment, 0},
    KnownType{"timestamptz", Family::kMoment, 0},
    KnownType{"time", Family::kClock, 0},
    KnownType{"timetz", Family::kClock, 0},
    KnownType{"bit", Family::kBits, 0},
    KnownType{"varbit", Family::kBits, 0},
    KnownType{"json", Family::kJson, 0},
    KnownType{"jsonb", Family::kJson, 0},
    KnownType{"inet", Family::kAddress, 0},
    KnownType{"cidr", Family::kAddress, 0},
};

const KnownType *
Known(const std::string &name) {
    const auto *const found =
        std::find_if(kKnownTypes.begin(), kKnownTypes.end(),
                     [&](const KnownType &known) { return known.name == name; });
    return found == kKnownTypes.end() ? nullptr : found;
}

TypeFit
Refuses(std::string reason) {
    return {Kind::kDoubtful, std::move(reason)};
}

TypeFit
Changes(std::string reason) {
    return {Kind::kChanges, std::move(reason)};
}

TypeFit
RefusesLarger() {
    return Refuses("values that are out of its range stop the copy, or apply");
}

TypeFit
RefusesLonger() {
    return Refuses("longer values stop the copy, or apply");
}

TypeFit
LosesDigits() {
    return Changes("values lose digits");
}

// numeric(precision, scale), see numerictypmodin() of PostgreSQL's numeric.c.
constexpr int32_t kModifierHeader = 4;
struct Digits {
    int whole = 0;
    int scale = 0;
};

std::optional<Digits>
DigitsOf(int32_t modifier) {
    if (modifier < kModifierHeader) {
        return std::nullopt;
    }
    const int32_t packed = modifier - kModifierHeader;
    const int scale = ((packed & 0x7ff) ^ 0x400) - 0x400;
    return Digits{((packed >> 16) & 0xffff) - scale, scale};
}

TypeFit
IntoNumeric(std::optional<Digits> source, int32_t modifier) {
    const std::optional<Digits> target = DigitsOf(modifier);
    if (!target) {
        return {};
    }
    if (!source || target->scale < source->scale) {
        return Changes(target->scale < 0
                           ? "values are rounded to " + std::to_string(-target->scale) +
                                 " digits before the decimal point"
                           : "values are rounded to " + std::to_string(target->scale) +
                                 (target->scale == 1 ? " decimal place" : " decimal places"));
    }
    return target->whole < source->whole ? RefusesLarger() : TypeFit{};
}

// Characters that a value may have; see varchartypmodin().
int
LengthOf(const ColumnType &type, const KnownType &known) {
    if (known.size != kUnlimited) {
        return known.size;
    }
    return type.modifier < kModifierHeader ? kUnlimited : type.modifier - kModifierHeader;
}

TypeFit
IntoText(const ColumnType &source, const KnownType &from, const ColumnType &target,
         const KnownType &into) {
    constexpr int kBytesOfCharacter = 4;
    const int length = LengthOf(target, into);
    const int longest = LengthOf(source, from);
    const bool in_bytes = into.size != kUnlimited;
    const bool fits =
        length == kUnlimited ||
        (longest != kUnlimited &&
         longest * (in_bytes && from.size == kUnlimited ? kBytesOfCharacter : 1) <= length);
    if (in_bytes) {
        return fits ? TypeFit{}
                    : Changes("values are cut off after " + std::to_string(length) +
                              (length == 1 ? " byte" : " bytes"));
    }
    if (source.name == "bpchar") {
        if (target.name == "bpchar") {
            return fits ? TypeFit{} : RefusesLonger();
        }
        return Refuses("the blanks that pad values become part of them");
    }
    if (target.name == "bpchar" && length != kUnlimited) {
        return Changes("values are padded with blanks, and those at their end lose their meaning");
    }
    return fits ? TypeFit{}
                : Changes("blanks at the end of values are cut off beyond " +
                          std::to_string(length) + (length == 1 ? " character" : " characters"));
}

// Of time, timetz, timestamp, timestamptz and the seconds of interval.
constexpr int kFullPrecision = 6;

TypeFit
IntoPrecision(int source, int target) {
    if (target >= source) {
        return {};
    }
    return Changes("times of day are rounded to " +
                   (target == 0 ? "seconds" : std::to_string(target) + " digits of a second"));
}

int
PrecisionOf(int32_t modifier) {
    return modifier < 0 ? kFullPrecision : std::min<int>(modifier, kFullPrecision);
}

// See INTERVAL_TYPMOD and AdjustIntervalForTypmod(): all that is less than the least field goes.
int
LeastField(int32_t modifier) {
    constexpr std::array kFields = {12, 11, 10, 3, 1, 2}; // second, minute, hour, day, month, year
    for (size_t i = 0; modifier >= 0 && i < kFields.size(); i++) {
        if (((modifier >> 16) & (1 << kFields[i])) != 0) {
            return static_cast<int>(i);
        }
    }
    return 0;
}

TypeFit
IntoInterval(int32_t source, int32_t target) {
    if (LeastField(target) > LeastField(source)) {
        return Changes("the lesser fields of values are dropped");
    }
    const auto precision = [](int32_t modifier) {
        return modifier < 0 ? kFullPrecision : PrecisionOf(modifier & 0xffff);
    };
    return LeastField(target) > 0 ? TypeFit{} : IntoPrecision(precision(source), precision(target));
}

TypeFit
SameName(const ColumnType &source, const ColumnType &target) {
    const KnownType *const known = Known(source.name);
    if (source.modifier == target.modifier || target.modifier < 0) {
        return {};
    }
    if (source.name == "numeric") {
        return IntoNumeric(DigitsOf(source.modifier), target.modifier);
    }
    if (source.name == "interval") {
        return IntoInterval(source.modifier, target.modifier);
    }
    if (known == nullptr) {
        return Refuses("values that its modifier does not allow may stop the copy, or apply");
    }
    switch (known->family) {
    case Family::kText:
        return IntoText(source, *known, target, *known);
    case Family::kMoment:
    case Family::kClock:
        return IntoPrecision(PrecisionOf(source.modifier), PrecisionOf(target.modifier));
    case Family::kBits:
        return source.name == "varbit" && source.modifier >= 0 && source.modifier < target.modifier
                   ? TypeFit{}
                   : Refuses("values of another length stop the copy, or apply");
    default:
        return {};
    }
}

TypeFit
FromInteger(const KnownType &from, const ColumnType &target, const KnownType &into) {
    if (into.family == Family::kInteger) {
        return into.size >= from.size ? TypeFit{} : RefusesLarger();
    }
    if (target.name == "numeric") {
        return IntoNumeric(Digits{from.size, 0}, target.modifier);
    }
    if (target.name == "money") {
        return RefusesLarger();
    }
    constexpr int kDigitsOfFloat4 = 7;
    constexpr int kDigitsOfFloat8 = 15;
    return from.size <= (target.name == "float4" ? kDigitsOfFloat4 : kDigitsOfFloat8)
               ? TypeFit{}
               : LosesDigits();
}

TypeFit
FromDecimal(const ColumnType &source, const ColumnType &target, const KnownType &into) {
    if (into.family == Family::kInteger) {
        return Refuses("values that are no integers stop the copy, or apply");
    }
    if (source.name == "money") {
        return Refuses("values with a currency stop the copy, or apply");
    }
    if (source.name == "float4" && target.name == "float8") {
        return {};
    }
    if (target.name == "numeric") { // of a float
        const TypeFit fit = IntoNumeric(std::nullopt, target.modifier);
        return fit.kind == Kind::kChanges ? fit : Refuses("-0 becomes 0");
    }
    return LosesDigits();
}

TypeFit
BetweenTimes(const ColumnType &source, const ColumnType &target) {
    const auto has_zone = [](const ColumnType &type) {
        return type.name == "timestamptz" || type.name == "timetz";
    };
    if (target.name == "date") {
        return Changes("the time of day is dropped");
    }
    if (source.name != "date" && has_zone(source) != has_zone(target)) {
        return Changes(has_zone(source)
                           ? "the time zone is dropped"
                           : "values are read as of the target's time zone (TimeZone)");
    }
    if (source.name == "date" && has_zone(target)) {
        return Changes("values are read as of the target's time zone (TimeZone)");
    }
    return source.name == "date" ? TypeFit{} : Changes("the date is dropped");
}

TypeFit
Unknown() {
    return Refuses("whether it takes every value, as it is, is not known");
}

// Where the text of a value of another kind is kept as it is.
TypeFit
TextOfOthers(const ColumnType &source, const ColumnType &target, const KnownType &into) {
    if (into.size != kUnlimited) {
        return IntoText({"text"}, *Known("text"), target, into);
    }
    // pgoutput and wal2json do not write them alike.
    if (source.name == "bool" || source.name == "bytea") {
        return Unknown();
    }
    if (target.name == "bpchar") {
        return Refuses("values are padded with blanks");
    }
    return LengthOf(target, into) == kUnlimited ? TypeFit{} : RefusesLonger();
}

TypeFit
OtherName(const ColumnType &source, const ColumnType &target) {
    const KnownType *const from = Known(source.name);
    const KnownType *const into = Known(target.name);
    if (into == nullptr) {
        return Unknown();
    }
    const Family family = from == nullptr ? Family::kOther : from->family;
    if (into->family == Family::kText) {
        return family == Family::kText ? IntoText(source, *from, target, *into)
                                       : TextOfOthers(source, target, *into);
    }
    if (target.name == "jsonb" && (family == Family::kJson || family == Family::kText)) {
        return Changes("blanks, the order of keys and all but the last of equal keys are dropped");
    }
    const auto is_time = [](Family one) { return one == Family::kMoment || one == Family::kClock; };
    if (family == Family::kInteger &&
        (into->family == Family::kInteger || into->family == Family::kDecimal)) {
        return FromInteger(*from, target, *into);
    }
    if (family == Family::kDecimal &&
        (into->family == Family::kInteger || into->family == Family::kDecimal)) {
        return FromDecimal(source, target, *into);
    }
    if (is_time(family) && is_time(into->family)) {
        return BetweenTimes(source, target);
    }
    if (family == Family::kBits && into->family == Family::kBits) {
        const bool fits =
            target.name == "varbit" && (target.modifier < 0 || source.modifier <= target.modifier);
        return fits ? TypeFit{} : Refuses("values of another length stop the copy, or apply");
    }
    if ((source.name == "jsonb" && target.name == "json") ||
        (source.name == "cidr" && target.name == "inet")) {
        return {};
    }
    return Unknown();
}

bool
IsNumber(const KnownType &type) {
    return type.family == Family::kInteger || type.family == Family::kDecimal;
}

// Of the other numbers only numeric becomes money, and back, in an assignment.
bool
HasCastOfMoney(const std::string &one, const std::string &other) {
    return (one != "money" && other != "money") || one == "numeric" || other == "numeric";
}

} // namespace

TypeFit
FitOfTypes(const ColumnType &source, const ColumnType &target) {
    if (source.is_array != target.is_array) {
        return Unknown();
    }
    return source.name == target.name ? SameName(source, target) : OtherName(source, target);
}

std::string
TypeFix(const std::string &table, const std::string &column, const ColumnType &source,
        const std::string &written, const ColumnType &target, bool has_default) {
    const KnownType *const from = Known(target.name);
    const KnownType *const into = Known(source.name);
    const bool by_itself =
        source.is_array == target.is_array &&
        (source.name == target.name ||
         (into != nullptr && into->family == Family::kText && !source.is_array) ||
         (from != nullptr && into != nullptr &&
          (from->family == into->family || (IsNumber(*from) && IsNumber(*into))) &&
          HasCastOfMoney(source.name, target.name)));
    const std::string name = QuoteIdentifier(column);
    const std::string alter = "ALTER COLUMN " + name;
    if (by_itself) {
        return "ALTER TABLE " + table + " " + alter + " TYPE " + written + ";";
    }
    const bool has_currency = target.name == "money" && !target.is_array && into != nullptr;
    const std::string by =
        has_currency && IsNumber(*into) ? "::pg_catalog.numeric::" : "::pg_catalog.text::";
    return "ALTER TABLE " + table + " " + (has_default ? alter + " DROP DEFAULT, " : "") + alter +
           " TYPE " + written + " USING " + name + by + written + ";" +
           (has_default ? " -- then SET DEFAULT as on the source" : "");
}

} // namespace livemigrate
