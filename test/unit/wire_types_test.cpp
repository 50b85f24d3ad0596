// Descriptions of relations in a stream of binary values say how to read them.
#include "core/wire_types.hpp"

#include "core/error.hpp"
#include "core/pgoutput_decoder.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

constexpr uint32_t kInt4 = 23;
constexpr uint32_t kText = 25;
constexpr uint32_t kAnyEnum = 3500;
constexpr uint32_t kDomain = 16400; // over int4
constexpr uint32_t kMood = 16410;   // an enum

std::string
U32(uint32_t value) {
    return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
            static_cast<char>(value >> 8), static_cast<char>(value)};
}

// Relation 5, public.t, with columns c0, c1, ... of these types; `xid` in a streamed transaction.
std::string
Relation(const std::vector<uint32_t> &types, const std::string &xid = "") {
    std::string message = "R" + xid + U32(5) + std::string("public\0t\0d\0", 11);
    message += static_cast<char>(types.size());
    for (size_t i = 0; i < types.size(); i++) {
        message += '\0';
        message += "c" + std::to_string(i) + '\0' + U32(types[i]) + U32(0xffffffff);
    }
    return message;
}

WireTypes
Types() {
    return WireTypes({{kInt4, kInt4}, {kText, kText}, {kDomain, kInt4}, {kMood, kAnyEnum}});
}

TEST(WireTypes, StandInPlaceOfTheColumnsTypes) {
    WireTypes types = Types();
    EXPECT_EQ(types.Translate(Relation({kText, kDomain, kMood, kInt4})),
              Relation({kText, kInt4, kAnyEnum, kInt4}));
    EXPECT_EQ(types.Translate(Relation({})), Relation({}));
}

TEST(WireTypes, InStreamedTransactionsToo) {
    WireTypes types = Types();
    const std::string start = "S" + U32(700) + '\1';
    EXPECT_EQ(types.Translate(start), start);
    EXPECT_EQ(types.Translate(Relation({kDomain}, U32(700))), Relation({kInt4}, U32(700)));
    EXPECT_EQ(types.Translate("E"), "E");
    EXPECT_EQ(types.Translate(Relation({kDomain})), Relation({kInt4}));
}

TEST(WireTypes, LeaveAllOthersAlone) {
    WireTypes types = Types();
    for (const std::string payload : {"", "I", "Y\0\0\x40\x10", "Bxyz", "T", "M"}) {
        EXPECT_EQ(types.Translate(payload).data(), payload.data());
    }
}

TEST(WireTypes, NameWhatIsUnknown) {
    WireTypes types = Types();
    try {
        types.Translate(Relation({kText, 16999}));
        FAIL() << "an unknown type was let through";
    } catch (const WireTypes::Unknown &unknown) {
        EXPECT_EQ(unknown.relation, "public.t");
        EXPECT_EQ(unknown.column, "c1");
        EXPECT_EQ(unknown.type, 16999U);
    }
}

TEST(WireTypes, RefuseWhatIsMalformed) {
    WireTypes types = Types();
    const std::string whole = Relation({kInt4, kDomain});
    for (size_t length = 1; length < whole.size(); length++) {
        EXPECT_THROW(types.Translate(whole.substr(0, length)), Error) << length;
    }
    EXPECT_THROW(types.Translate(whole + "x"), Error);
}

} // namespace
} // namespace livemigrate
