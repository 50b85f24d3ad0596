#include "core/wal2json_decoder.hpp"

#include "core/error.hpp"
#include "core/wal2json_transaction.hpp"
#include "data/change_text.hpp"
#include "data/wal2json_recording.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

using test::ChangeText;
using test::ExactCopy;
using test::kWal2jsonRecording;

const char *const kRecordedRows[] = {
    "insert public.item new (id='1' name='plain' price='12.50' active='t' note=null)",
    "insert public.item new (id='2' name='quote \" back \\ slash \n t'...38 price='0.00' acti"
    "ve='f' note='TTTTTTTTTTTTTTTTTTTTTTTT'...2100)",
    "insert public.item new (id='9223372036854775807' name='ünïcödé 😀 \xe2\x80\xa8' price='99"
    "99999999.99' active=null note='')",
    "update public.item key (id*='2') new (id*='2' name='renamed' price='0.00' active='f')",
    "update public.item key (id*='2') new (id*='3' name='renamed' price='0.00' active='f')",
    "update public.item key (id*='3') new (id*='3' name='renamed' price='0.00' active='f' not"
    "e=null)",
    "delete public.item key (id*='3')",
    "insert public.full_identity new (a='1' b='one' c='{\"k\": [1, 2, {\"x\": null}'...26)",
    "insert public.full_identity new (a='1' b='one' c='{\"k\": [1, 2, {\"x\": null}'...26)",
    "insert public.full_identity new (a=null b=null c=null)",
    "update public.full_identity full (a*=null b*=null c*=null) new (a*=null b*='uno' c*=null"
    ")",
    "delete public.full_identity full (a*='1' b*='one' c*='{\"k\": [1, 2, {\"x\": null}'...26"
    ")",
    "insert public.by_index new (x='1' y='why' z='26')",
    "update public.by_index key (y*='why' z*='26') new (x='2' y*='why' z*='26')",
    "update public.by_index key (y*='why' z*='26') new (x='2' y*='why' z*='27')",
    "delete public.by_index key (y*='why' z*='27')",
    "insert Odd \"Schema.Täble\\ 😀 new (Kéy='1' quo\"te='\"' new\nline='x')",
    "update Odd \"Schema.Täble\\ 😀 key (Kéy*='1') new (Kéy*='1' quo\"te='y' new\nline='x')",
    "insert public.typed new (id='1' m='happy' b='deadbeef' d='7' f='0.30000000000000004' n='"
    "0.0000000000000000000000'...132 bits='101' ts='2026-01-02 03:04:05.678+'...26 arr='{a,NU"
    "LL,\"c,d\"}' j='{\"a\": \"\\\\u20ac\"}' g='2')",
    "insert public.typed new (id='2' m='sad' b='' d='1' f=null n=null bits='' ts='infinity' a"
    "rr='{}' j='null' g='4')",
    "insert public.typed new (id='3' m=null b=null d=null f='-1.5e+300' n='123456789012345678"
    "901234'...40 bits=null ts=null arr=null j=null g='6')",
    "insert public.no_columns",
    "insert public.parent new (id='1')",
    "insert public.child new (id='1' parent_id='1')",
    "truncate public.parent",
    "truncate public.child",
    "truncate public.item",
    "insert public.item new (id*='12' name='kept' price='1.00' active='t' note='')",
    "insert public.item new (id*='13' name='wider' price='1.00' active='t' note='' extra='6')",
    "insert public.item new (id*='14' name='narrower' active='t' note='' extra='7')",
    "update public.item key (id*='14') new (id*='14' active='t' note='' extra='7' title='chan"
    "ged')",
    "insert public.item new (id*='15' active='f' note='' extra='8' title='origin')",
};

bool
IsFullIdentity(std::string_view schema, std::string_view name) {
    return schema == "public" && name == "full_identity";
}

class Wal2jsonDecoderTest : public ::testing::Test {
  protected:
    std::string
    DecodeText(std::string_view payload) {
        const ExactCopy copy(payload);
        decoder_.Decode(Lsn{0x1234}, copy.view(), change_);
        return ChangeText(change_);
    }

    // A row message for public.t with these members behind the table.
    static std::string
    Row(char action, const std::string &members) {
        return std::string("{\"action\":\"") + action +
               R"(","xid":1,"schema":"public","table":"t",)" + members + "}";
    }
    static std::string
    Insert(const std::string &columns) {
        return Row('I', "\"columns\":[" + columns + "]");
    }
    std::string
    InsertText(const std::string &columns) {
        return DecodeText(Insert(columns));
    }

    void
    ExpectError(std::string_view payload, std::string_view message = "") {
        try {
            DecodeText(payload);
            ADD_FAILURE() << "accepted " << payload;
        } catch (const Error &error) {
            EXPECT_EQ(error.sqlstate(), sqlstate::kProtocolViolation);
            EXPECT_NE(error.message().find(message), std::string::npos)
                << error.message() << " for " << payload;
            EXPECT_NE(error.detail().find("0/1234"), std::string::npos) << error.detail();
        }
    }

    // The same in the very layout of wal2json, which takes the decoder's fast path.
    static std::string
    ExactInsert(const std::string &columns) {
        return R"({"action":"I","xid":1,"timestamp":"2026-11-22 15:54:24.383481+00",)"
               R"("lsn":"0/1561150","schema":"public","table":"t","columns":[)" +
               columns + "]}";
    }

    Wal2jsonDecoder decoder_{IsFullIdentity};
    Change change_;
};

TEST_F(Wal2jsonDecoderTest, DecodesRecording) {
    size_t row = 0;
    size_t begins = 0;
    size_t commits = 0;
    for (const auto &message : kWal2jsonRecording) {
        const std::string text = DecodeText(message.data);
        begins += text == "begin";
        commits += text == "commit";
        if (text != "begin" && text != "commit" && text != "ignored") {
            ASSERT_LT(row, std::size(kRecordedRows));
            EXPECT_EQ(text, kRecordedRows[row++]);
        }
    }
    EXPECT_EQ(row, std::size(kRecordedRows));
    EXPECT_EQ(begins, 28U);
    EXPECT_EQ(commits, 28U);
}

TEST_F(Wal2jsonDecoderTest, MarksWhatItDecodes) {
    for (const auto &message : kWal2jsonRecording) {
        const TransactionMark mark = MarkWal2json(message.data);
        DecodeText(message.data);
        EXPECT_EQ(mark.kind == TransactionMark::Kind::kBegin, change_.kind == ChangeKind::kBegin);
        EXPECT_EQ(mark.kind == TransactionMark::Kind::kCommit, change_.kind == ChangeKind::kCommit);
        if (mark.kind != TransactionMark::Kind::kNone) {
            EXPECT_EQ(mark.commit_lsn, change_.commit_lsn);
        }
    }
}

TEST_F(Wal2jsonDecoderTest, DecodesEveryKindOfValue) {
    EXPECT_EQ(InsertText(R"({"name":"a","value":1},{"name":"b","value":"x"},)"
                         R"({"name":"c","value":null},{"name":"d","value":true},)"
                         R"({"name":"e","value":false},{"name":"f","value":""})"),
              "insert public.t new (a='1' b='x' c=null d='t' e='f' f='')");
}

TEST_F(Wal2jsonDecoderTest, KeepsNumbersAsTheyAre) {
    for (const char *number :
         {"0", "-0", "9223372036854775807", "-9223372036854775808", "1e+300", "-1.5E-300", "1.10",
          "123456789012345678901234567890.1234567890123456789", "0.1000000000000000055511151231"}) {
        InsertText(std::string(R"({"name":"a","value":)") + number + "}");
        EXPECT_EQ(change_.new_tuple.at(0).data, number);
    }
    const std::string digits(131072, '9');
    InsertText(R"({"name":"a","value": )" + digits + " }");
    EXPECT_EQ(change_.new_tuple.at(0).data, digits);
}

TEST_F(Wal2jsonDecoderTest, UnescapesStrings) {
    InsertText(R"({"name":"a","value":"\" \\ \/ \b \f \n \r \t \u0001 \u20ac \ud83d\ude00 é"})");
    EXPECT_EQ(change_.new_tuple.at(0).data,
              "\" \\ / \b \f \n \r \t \x01 \xe2\x82\xac \xf0\x9f\x98\x80 \xc3\xa9");
    InsertText(R"({"name":"a","value":"\\u20ac"})"); // a backslash of the value's own
    EXPECT_EQ(change_.new_tuple.at(0).data, "\\u20ac");
    InsertText("{\"name\":\"a\",\"value\":\"\xe2\x80\xa8 \x7f\"}"); // U+2028, DEL
    EXPECT_EQ(change_.new_tuple.at(0).data, "\xe2\x80\xa8 \x7f");
}

TEST_F(Wal2jsonDecoderTest, RefusesImpossibleStrings) {
    ExpectError(Insert(R"({"name":"a","value":"\u0000"})"), "NUL");
    ExpectError(Insert(R"({"name":"\u0000","value":"x"})"), "NUL");
    ExpectError(Insert(R"({"name":"a","value":"\ud83d"})"));
    ExpectError(Insert(R"({"name":"a","value":"\ude00\ud83d"})"));
    ExpectError(Insert(R"({"name":"a","value":"\x41"})"));
    ExpectError(Insert(R"({"name":"a","value":"\u12"})"));
    ExpectError(Insert("{\"name\":\"a\",\"value\":\"\n\"}"));
    ExpectError(Insert(std::string("{\"name\":\"a\",\"value\":\"x\0y\"}", 26)));
    ExpectError(Insert("{\"name\":\"a\",\"value\":\"\xe9\"}"), "not valid UTF-8"); // LATIN1
    ExpectError(Insert("{\"name\":\"a\",\"value\":\"\xc0\x80\"}"), "not valid UTF-8");
    ExpectError(Insert("{\"name\":\"a\",\"value\":\"\xed\xa0\x80\"}"), "not valid UTF-8");
}

TEST_F(Wal2jsonDecoderTest, RefusesWrongValues) {
    for (const char *value :
         {"[1]", "{}", "[]", "{\"a\":1}", "nul", "nulll", "True", "truefalse", "NaN", "Infinity",
          "1a", "0x1", "'x'", "\"x\"y", "1 2", "", "-\"\""}) {
        ExpectError(Insert(std::string(R"({"name":"a","value":)") + value + "}"));
    }
    ExpectError(Insert(R"({"name":1,"value":1})"), "a string is expected");
    ExpectError(Insert(R"({"name":null,"value":1})"), "a string is expected");
    ExpectError(Insert(R"({"name":"a"})"), "without name or value");
    ExpectError(Insert(R"({"value":1})"), "without name or value");
    ExpectError(Insert(R"({})"), "without name or value");
    ExpectError(Insert(R"({"name":"a","name":"b","value":1})"), "two names");
    ExpectError(Insert(R"({"name":"a","value":1,"value":2})"), "two values");
    ExpectError(Insert(R"(1)"));
    ExpectError(Insert(R"("a")"));
    ExpectError(Insert(R"([])"));
    ExpectError(Insert(R"({"name":"a","value":1},)"));
    ExpectError(Insert(R"({"name":"a","value":1},{"name":"a","value":2})"), "a column twice");
    ExpectError(
        Row('U', R"("columns":[],"identity":[{"name":"a","value":1},{"name":"a","value":1}])"),
        "a column twice");
}

// A blank at the end keeps a row from the fast path.
TEST_F(Wal2jsonDecoderTest, BothPathsDecodeRecordingAlike) {
    Wal2jsonDecoder parser(IsFullIdentity);
    Change parsed;
    for (const auto &message : kWal2jsonRecording) {
        const std::string_view payload = message.data;
        if (std::string_view("IUDT").find(Wal2jsonAction(payload)) != std::string_view::npos) {
            const std::string with_blank = std::string(payload) + " ";
            parser.Decode(Lsn{1}, with_blank, parsed);
            EXPECT_EQ(DecodeText(payload), ChangeText(parsed));
            EXPECT_EQ(change_.relation->columns, parsed.relation->columns);
        }
    }
}

TEST_F(Wal2jsonDecoderTest, BothPathsDecodeColumnsAlike) {
    const std::string long_text(100, 'x');
    const std::vector<std::string> values = {"1",
                                             "-1.5e+300",
                                             "null",
                                             "true",
                                             "false",
                                             "\"\"",
                                             "\"x\"",
                                             "\"12345678\"",
                                             R"("\"")",
                                             R"("\\")",
                                             R"("\\\"")",
                                             R"("\b\f\n\r\t\"\\\u0001\u001f")",
                                             R"("12345678\n12345678\\")",
                                             "\"" + long_text + R"(\n)" + long_text + "\"",
                                             "\"\xc3\xa9\"",
                                             "\"1234567\xc3\xa9\\n\xf0\x9f\x98\x80\"",
                                             R"("\u00e9")",
                                             R"("\ud83d\ude00")",
                                             R"("\/")",
                                             R"("\u001F")",
                                             R"("\u0020")"};
    for (const std::string &value : values) {
        const std::string columns =
            R"({"name":"a","value":)" + value + R"(},{"name":"q\"\\","value":)" + value + "}";
        Wal2jsonDecoder scanner;
        Wal2jsonDecoder parser;
        for (int i = 0; i < 2; i++) { // the second time, the columns are known
            const std::string exact = ExactInsert(columns);
            const std::string other = exact + " ";
            Change parsed;
            scanner.Decode(Lsn{1}, exact, change_);
            parser.Decode(Lsn{1}, other, parsed);
            EXPECT_EQ(ChangeText(change_), ChangeText(parsed));
            EXPECT_EQ(change_.new_tuple.at(1).data, parsed.new_tuple.at(1).data);
        }
    }
}

TEST_F(Wal2jsonDecoderTest, BothPathsRefuseTheSame) {
    const std::vector<std::string> columns = {
        R"({"name":"a","value":1},{"name":"a","value":1})",
        R"({"name":"a","value":"\u0000"})",
        R"({"name":"a","value":"\ud83d"})",
        R"({"name":"a","value":"\x"})",
        R"({"name":"a","value":"\")",
        R"({"name":"a","value":"\u00")",
        R"({"name":"a","value":nul})",
        R"({"name":"a","value":1a})",
        R"({"name":"a","value":[]})",
        R"({"name":"a","value":})",
        R"({"name":"a","value":1},)",
        R"({"name":"a"})",
        R"(1)",
        "{\"name\":\"a\",\"value\":\"\xe9\"}",
        "{\"name\":\"a\",\"value\":\"\\n\xe9 and more than a word\"}",
        "{\"name\":\"\xe9\",\"value\":1}",
        "{\"name\":\"a\",\"value\":\"\x1f\"}",
        "{\"name\":\"a\",\"value\":\"\\n\x1f\"}"};
    for (const std::string &text : columns) {
        ExpectError(ExactInsert(text));
        ExpectError(ExactInsert(text) + " ");
    }
}

TEST_F(Wal2jsonDecoderTest, FastPathCopiesNothingWithoutEscapes) {
    const std::string message =
        ExactInsert(R"({"name":"a","value":"plain"},{"name":"b","value":1})");
    decoder_.Decode(Lsn{1}, message, change_);
    for (const ColumnValue &value : change_.new_tuple) {
        EXPECT_GE(value.data.data(), message.data());
        EXPECT_LT(value.data.data(), message.data() + message.size());
    }
}

TEST_F(Wal2jsonDecoderTest, FastPathGivesBackWhatHugeRowsNeeded) {
    const std::string huge(20 << 20, 'h');
    for (int i = 0; i < 2; i++) {
        DecodeText(ExactInsert(R"({"name":"a","value":"\n)" + huge + "\"}"));
        EXPECT_EQ(change_.new_tuple.at(0).data.size(), huge.size() + 1);
        EXPECT_EQ(DecodeText(ExactInsert(R"({"name":"a","value":"\\"})")),
                  "insert public.t new (a='\\')");
    }
}

TEST_F(Wal2jsonDecoderTest, IgnoresUnknownMembers) {
    EXPECT_EQ(
        DecodeText(R"({"action":"I","new":{"deep":[1,{"x":"}]"}]},"origin":0,"schema":"public",)"
                   R"("table":"t","pk":[{"name":"a"}],"columns":[{"type":"integer","name":)"
                   R"("a","typeoid":23,"value":1,"optional":true,"more":[]}],"x":null})"),
        "insert public.t new (a='1')");
    EXPECT_EQ(InsertText(R"({"value":2,"name":"a"})"), "insert public.t new (a='2')");
    EXPECT_EQ(DecodeText(R"({"action":"I" , "schema" : "public", "table":"t","columns" : [ {)"
                         R"( "name" : "a" , "value" : 3 } ] } )"),
              "insert public.t new (a='3')");
}

TEST_F(Wal2jsonDecoderTest, RefusesWrongMembers) {
    ExpectError(R"({"action":"I","schema":"s","columns":[]})", "before schema and table");
    ExpectError(R"({"action":"I","table":"t","columns":[]})", "before schema and table");
    ExpectError(R"({"action":"I","columns":[],"schema":"s","table":"t"})", "before schema");
    ExpectError(R"({"action":"T","schema":"s"})", "lacks a member");
    ExpectError(R"({"action":"I","schema":"s","table":"t"})", "lacks a member");
    ExpectError(Row('I', R"("columns":[],"identity":[])"), "one too many");
    ExpectError(Row('D', R"("columns":[],"identity":[])"), "one too many");
    ExpectError(Row('T', R"("columns":[])"), "one too many");
    ExpectError(Row('I', R"("columns":[],"columns":[])"), "a member twice");
    ExpectError(Row('I', R"("columns":[],"table":"u")"), "a member twice");
    ExpectError(Row('I', R"("columns":{})"));
    ExpectError(Row('I', R"("columns":null)"));
    ExpectError(R"({"action":"I","schema":1,"table":"t","columns":[]})", "a string is expected");
    ExpectError(R"({"action":"I","schema":"s","table":["t"],"columns":[]})", "a string is");
    ExpectError(Insert("") + "x");
    ExpectError(Insert("") + "}", "behind its end");
    ExpectError(Insert("") + Insert(""), "behind its end");
}

TEST_F(Wal2jsonDecoderTest, RefusesUpdateAndDeleteWithoutIdentity) {
    ExpectError(Row('U', R"("columns":[{"name":"a","value":1}])"), "lacks a member");
    ExpectError(Row('D', R"("xid":1)"), "lacks a member");
    ExpectError(Row('U', R"("columns":[{"name":"a","value":1}],"identity":[])"), "no identity");
    ExpectError(Row('D', R"("identity":[])"), "no identity");
}

// D20
TEST_F(Wal2jsonDecoderTest, RefusesUnknownActions) {
    ExpectError("", "does not begin with its action");
    ExpectError("{}", "does not begin with its action");
    ExpectError(R"({"change":[]})", "does not begin with its action"); // format version 1
    ExpectError(R"({"action":"X","schema":"s","table":"t"})", "unknown wal2json action");
    ExpectError(R"({"action":"","schema":"s","table":"t"})", "does not begin with its action");
    ExpectError(R"({"action":"II","schema":"s","table":"t"})", "does not begin with its action");
    ExpectError(R"({"action":1})", "does not begin with its action");
}

TEST_F(Wal2jsonDecoderTest, IgnoresLogicalMessagesWhateverTheyHold) {
    EXPECT_EQ(DecodeText("{\"action\":\"M\",\"xid\":null,\"content\":\"\xde\xad\xbe\xef\"}"),
              "ignored");
    ExpectError("{\"action\":\"M\",\"xid\":null,\"content\":\"x", "truncated");
}

TEST_F(Wal2jsonDecoderTest, PutsRelationsTogether) {
    EXPECT_EQ(InsertText(R"({"name":"a","value":1},{"name":"b","value":2})"),
              "insert public.t new (a='1' b='2')");
    const auto first = change_.relation;
    EXPECT_EQ(first->remote_id, 0U);
    EXPECT_EQ(first->replica_identity, 0);
    EXPECT_EQ(first->columns.at(1), (RemoteColumn{"b", false, 0, -1}));

    // Another order, and a column left out, change nothing.
    EXPECT_EQ(InsertText(R"({"name":"b","value":2},{"name":"a","value":1})"),
              "insert public.t new (a='1' b='2')");
    EXPECT_EQ(InsertText(R"({"name":"b","value":2})"), "insert public.t new (b='2')");
    EXPECT_EQ(change_.new_tuple.size(), 2U);
    EXPECT_EQ(change_.relation, first);

    // A new name is appended, wherever it stands.
    EXPECT_EQ(InsertText(R"({"name":"a","value":1},{"name":"c","value":3},{"name":"b","value":2})"),
              "insert public.t new (a='1' b='2' c='3')");
    EXPECT_NE(change_.relation, first);
    EXPECT_EQ(first->columns.size(), 2U);
    EXPECT_EQ(change_.relation->columns.size(), 3U);
}

TEST_F(Wal2jsonDecoderTest, KeepsTablesApart) {
    const auto insert = [](const std::string &schema, const std::string &table) {
        return R"({"action":"I","schema":")" + schema + R"(","table":")" + table +
               R"(","columns":[{"name":"a","value":1}]})";
    };
    DecodeText(insert("x", "yz"));
    const auto first = change_.relation;
    DecodeText(insert("xy", "z"));
    EXPECT_NE(change_.relation, first);
    EXPECT_EQ(change_.relation->schema, "xy");
    DecodeText(insert("x", "yz"));
    EXPECT_EQ(change_.relation, first);
}

TEST_F(Wal2jsonDecoderTest, IdentityMakesTheKey) {
    const std::string columns = R"({"name":"a","value":1},{"name":"b","value":2})";
    InsertText(columns);
    EXPECT_FALSE(change_.relation->columns[0].is_key);
    EXPECT_EQ(DecodeText(
                  Row('U', "\"columns\":[" + columns + R"(],"identity":[{"name":"a","value":0}])")),
              "update public.t key (a*='0') new (a*='1' b='2')");
    EXPECT_EQ(change_.old_tuple.size(), 2U);
    const auto keyed = change_.relation;
    EXPECT_EQ(DecodeText(Row('D', R"("identity":[{"name":"a","value":0}])")),
              "delete public.t key (a*='0')");
    EXPECT_TRUE(change_.new_tuple.empty());
    InsertText(columns);
    EXPECT_EQ(change_.relation, keyed);
    EXPECT_TRUE(change_.old_tuple.empty());
    // The replica identity has become another.
    EXPECT_EQ(DecodeText(Row('D', R"("identity":[{"name":"b","value":0}])")),
              "delete public.t key (b*='0')");
    EXPECT_NE(change_.relation, keyed);
    EXPECT_FALSE(change_.relation->columns[0].is_key);
    EXPECT_TRUE(keyed->columns[0].is_key);
}

TEST_F(Wal2jsonDecoderTest, ColumnsOfIdentityJoinTheRelation) {
    EXPECT_EQ(DecodeText(Row('U', R"("columns":[{"name":"b","value":2}],)"
                                  R"("identity":[{"name":"a","value":1}])")),
              "update public.t key (a*='1') new (b='2')");
    EXPECT_EQ(change_.relation->columns.size(), 2U);
    EXPECT_EQ(change_.new_tuple.size(), 2U);
    EXPECT_EQ(change_.old_tuple.size(), 2U);
}

TEST_F(Wal2jsonDecoderTest, AsksForFullIdentityOncePerShape) {
    int asked = 0;
    Wal2jsonDecoder decoder([&](std::string_view schema, std::string_view name) {
        asked++;
        return schema == "public" && name == "t";
    });
    const std::string row = Row('D', R"("identity":[{"name":"a","value":null}])");
    for (int i = 0; i < 3; i++) {
        decoder.Decode(Lsn{1}, row, change_);
        EXPECT_TRUE(change_.old_tuple_is_full);
        EXPECT_EQ(change_.relation->replica_identity, 'f');
    }
    EXPECT_EQ(asked, 1);
    Wal2jsonDecoder without;
    without.Decode(Lsn{1}, row, change_);
    EXPECT_FALSE(change_.old_tuple_is_full);
}

TEST_F(Wal2jsonDecoderTest, DecodesTruncateOfUnknownTable) {
    EXPECT_EQ(DecodeText(R"({"action":"T","xid":1,"schema":"s","table":"t"})"), "truncate s.t");
    EXPECT_TRUE(change_.truncated.at(0)->columns.empty());
    EXPECT_FALSE(change_.truncate_cascade);
}

TEST_F(Wal2jsonDecoderTest, TakesAsManyColumnsAsATableCanHave) {
    std::string columns;
    for (int i = 0; i < 1600; i++) {
        columns += (i == 0 ? "" : ",") + std::string(R"({"name":"c)") + std::to_string(i) +
                   R"(","value":)" + std::to_string(i) + "}";
    }
    InsertText(columns);
    EXPECT_EQ(change_.new_tuple.at(1599).data, "1599");
}

TEST_F(Wal2jsonDecoderTest, RefusesHostileColumnCounts) {
    std::string columns;
    for (int i = 0; i < 70000; i++) {
        columns += (i == 0 ? "" : ",") + std::string(R"({"name":"c)") + std::to_string(i) +
                   R"(","value":0})";
    }
    try {
        InsertText(columns);
        FAIL();
    } catch (const Error &error) {
        EXPECT_NE(error.message().find("too many columns"), std::string::npos);
    }
}

TEST_F(Wal2jsonDecoderTest, SurvivesDeepNesting) {
    const std::string deep(100000, '[');
    ExpectError(Row('I', "\"x\":" + deep));
    ExpectError(Insert(R"({"name":"a","value":)" + deep + "}"));
    EXPECT_EQ(DecodeText(Row('I', "\"x\":" + deep + std::string(100000, ']') + ",\"columns\":[]")),
              "insert public.t");
}

TEST_F(Wal2jsonDecoderTest, DecodesHugeRowsAndSmallOnesAfter) {
    const std::string huge(20 << 20, 'h');
    for (int i = 0; i < 2; i++) {
        InsertText(R"({"name":"a","value":")" + huge + "\"}");
        EXPECT_EQ(change_.new_tuple.at(0).data, huge);
        EXPECT_EQ(InsertText(R"({"name":"a","value":"\u0041"})"), "insert public.t new (a='A')");
    }
}

TEST_F(Wal2jsonDecoderTest, ErrorsShowNoValues) {
    try {
        InsertText(R"({"name":"a","value":"secret"},{"name":"b","value":secret})");
        FAIL();
    } catch (const Error &error) {
        EXPECT_EQ((error.message() + error.detail()).find("secret"), std::string::npos);
        EXPECT_EQ((error.message() + error.detail()).find("73 65 63"), std::string::npos);
    }
}

// D21
TEST_F(Wal2jsonDecoderTest, RefusesMessagesTruncatedAnywhere) {
    for (const auto &message : kWal2jsonRecording) {
        const std::string_view payload = message.data;
        for (size_t size = 0; size < payload.size(); size++) {
            ExpectError(payload.substr(0, size));
        }
        DecodeText(payload);
    }
}

TEST_F(Wal2jsonDecoderTest, SurvivesFlippedBytes) {
    size_t refused = 0;
    for (const auto &message : kWal2jsonRecording) {
        const std::string payload = message.data;
        // Beyond that there are only letters T.
        for (size_t i = 0; i < std::min<size_t>(payload.size(), 400); i++) {
            for (const int mask : {0x01, 0x04, 0x20, 0x80, 0xFF}) {
                std::string damaged = payload;
                damaged[i] = static_cast<char>(damaged[i] ^ mask);
                try {
                    EXPECT_FALSE(DecodeText(damaged).empty());
                } catch (const Error &error) {
                    EXPECT_EQ(error.sqlstate(), sqlstate::kProtocolViolation);
                    refused++;
                }
            }
        }
    }
    EXPECT_GT(refused, 10000U);
}

} // namespace
} // namespace livemigrate
