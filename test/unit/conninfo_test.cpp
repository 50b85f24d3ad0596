#include "core/conninfo.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

using std::string_literals::operator""s;

TEST(Conninfo, KeepsWhatIsNoSecret) {
    EXPECT_EQ(RedactConninfo("host=src dbname=app user=migrator"),
              "host=src dbname=app user=migrator");
    EXPECT_EQ(RedactConninfo("service=src passfile=/etc/pgpass sslmode=verify-full"),
              "service=src passfile=/etc/pgpass sslmode=verify-full");
    EXPECT_EQ(RedactConninfo(R"(dbname='it\'s a db' user=a\ b)"),
              R"(dbname='it\'s a db' user=a\ b)");
    EXPECT_EQ(RedactConninfo(""), "");
}

TEST(Conninfo, RemovesPasswordsFromKeywords) {
    EXPECT_EQ(RedactConninfo("host=src password=s3cret dbname=app"), "host=src dbname=app");
    EXPECT_EQ(RedactConninfo("password=s3cret"), "");
    EXPECT_EQ(RedactConninfo("password='s3 cret' host=h"), "host=h");
    EXPECT_EQ(RedactConninfo(R"(password='a\'b host=x' host=h)"), "host=h");
    EXPECT_EQ(RedactConninfo(R"(password=a\ b host=h)"), "host=h");
    EXPECT_EQ(RedactConninfo(R"(password='a\\' host=h)"), "host=h");
    EXPECT_EQ(RedactConninfo("password = s3cret  host\t=\nh"), "host=h");
    EXPECT_EQ(RedactConninfo("sslpassword=s3cret sslkey=k"), "sslkey=k");
    EXPECT_EQ(RedactConninfo("host=h PassWord=s3cret"), "host=h");
    EXPECT_EQ(RedactConninfo("password='' host=h"), "host=h");
    EXPECT_EQ(RedactConninfo("password=a password=b host=h"), "host=h");
}

TEST(Conninfo, RemovesOptionsItDoesNotKnow) {
    EXPECT_EQ(RedactConninfo("host=h pasword=s3cret user=u"), "host=h user=u");
    EXPECT_EQ(RedactConninfo("oauth_client_secret=s scram_client_key=k host=h"), "host=h");
    EXPECT_EQ(RedactConninfo("=s3cret host=h"), "host=h");
    EXPECT_EQ(RedactConninfo("postgresql+ssl://u:s3cret@h/db?a=b"), "");
}

TEST(Conninfo, CutsAtADoubtfulKeyword) {
    EXPECT_EQ(RedactConninfo("host=h password=my s3cret dbname=app"), "host=h");
    EXPECT_EQ(RedactConninfo("host=h s3cret"), "host=h");
    EXPECT_EQ(RedactConninfo("s3cret"), "");
    EXPECT_EQ(RedactConninfo("host=h password='it's s3cret' user=u"), "host=h");
    EXPECT_EQ(RedactConninfo("host=h user='u password=s3cret"), "host=h");
    EXPECT_EQ(RedactConninfo("host=h password='a'user=s3cret"), "host=h");
    EXPECT_EQ(RedactConninfo("user=u host= password=s3cret"), "user=u");
    EXPECT_EQ(RedactConninfo(R"(host=h password=s3cret\)"), "host=h");
    EXPECT_EQ(RedactConninfo("host=h\0password=s3cret"s), "host=h");
}

TEST(Conninfo, AnEmptyPasswordSwallowsTheNextOptionAsInLibpq) {
    EXPECT_EQ(RedactConninfo("user=u password= host=h"), "user=u");
}

TEST(Conninfo, RemovesConnectionStringsInsideOptions) {
    EXPECT_EQ(RedactConninfo("dbname='postgresql://u:s3cret@h/db' host=h"), "host=h");
    EXPECT_EQ(RedactConninfo("dbname='host=a password=s3cret' host=h"), "host=h");
    EXPECT_EQ(RedactConninfo("host=u:s3cret@h port=1"), "port=1");
    EXPECT_EQ(RedactConninfo("options='-c my.PASSWORD=s3cret' port=1"), "port=1");
    EXPECT_EQ(RedactConninfo("options=-csearch_path=x host=@abstract user=a@tenant"),
              "options=-csearch_path=x host=@abstract user=a@tenant");
}

TEST(Conninfo, RemovesPasswordsFromUris) {
    EXPECT_EQ(RedactConninfo("postgresql://u:s3cret@h:5432/db?sslmode=require"),
              "postgresql://u@h:5432/db?sslmode=require");
    EXPECT_EQ(RedactConninfo("postgres://u:s3cret@h"), "postgres://u@h");
    EXPECT_EQ(RedactConninfo("postgresql://:s3cret@h/db"), "postgresql://h/db");
    EXPECT_EQ(RedactConninfo("postgresql://u:@h/db"), "postgresql://u@h/db");
    EXPECT_EQ(RedactConninfo("postgresql://u:a%40b%2Fc:d?e#f@h/db"), "postgresql://u@h/db");
    EXPECT_EQ(RedactConninfo("postgresql://u:s3 cret@h/db"), "postgresql://u@h/db");
    EXPECT_EQ(RedactConninfo("postgresql://a%40b:s3cret@h/db"), "postgresql://a%40b@h/db");
}

TEST(Conninfo, RemovesSecretParametersFromUris) {
    EXPECT_EQ(RedactConninfo("postgresql://h/db?password=s3cret&sslmode=require"),
              "postgresql://h/db?sslmode=require");
    EXPECT_EQ(RedactConninfo("postgresql:///db?user=u&password=s3cret"), "postgresql:///db?user=u");
    EXPECT_EQ(RedactConninfo("postgresql://h?pass%77ord=s3cret"), "postgresql://h");
    EXPECT_EQ(RedactConninfo("postgresql://h/db?sslpassword=x&port=1&pw=s3cret"),
              "postgresql://h/db?port=1");
    EXPECT_EQ(RedactConninfo("postgresql://h/db?options=-c%20a.password%3Ds3cret&port=1"),
              "postgresql://h/db?port=1");
    EXPECT_EQ(RedactConninfo("postgresql:///?dbname=host%3Dx%20sslmode%3Dy"), "postgresql:///");
}

TEST(Conninfo, KeepsTheFormsOfUris) {
    for (std::string_view uri :
         {"postgresql://", "postgresql://h", "postgresql:///db", "postgresql://u@",
          "postgresql://[2001:db8::1]:5432/db", "postgresql://[::1]", "postgresql://a:1,b:2,c/db",
          "postgresql://%2Fvar%2Frun/db", "postgresql://h/%C3%84?application_name=a%40b"}) {
        EXPECT_EQ(RedactConninfo(uri), uri);
    }
}

TEST(Conninfo, CutsADoubtfulUri) {
    EXPECT_EQ(RedactConninfo("postgresql://u:s3@cret@h/db"), "postgresql://");
    EXPECT_EQ(RedactConninfo("postgresql://u:s3/cret@h/db"), "postgresql://");
    EXPECT_EQ(RedactConninfo("postgresql://u:s3cret"), "postgresql://");
    EXPECT_EQ(RedactConninfo("postgresql://u:123456"), "postgresql://");
    EXPECT_EQ(RedactConninfo("postgresql://u?x=s3cret:y@h"), "postgresql://");
    EXPECT_EQ(RedactConninfo("postgresql://u@h/db password=s3cret"), "postgresql://u@h/db");
    EXPECT_EQ(RedactConninfo("postgresql://[::1:s3cret/db"), "postgresql://");
    EXPECT_EQ(RedactConninfo("postgresql://[::1]s3cret/db"), "postgresql://");
    EXPECT_EQ(RedactConninfo("postgresql://h/db%zz"), "postgresql://h");
    EXPECT_EQ(RedactConninfo("postgresql://h/db?port=1&s3cret"), "postgresql://h/db?port=1");
    EXPECT_EQ(RedactConninfo("postgresql://h/db?port=1&user=a=s3cret"), "postgresql://h/db?port=1");
    EXPECT_EQ(RedactConninfo("postgresql://h/db?port=1&user=%"), "postgresql://h/db?port=1");
    EXPECT_EQ(RedactConninfo("postgresql://h/db?port=1&user=%00"), "postgresql://h/db?port=1");
    EXPECT_EQ(RedactConninfo(" postgresql://u:s3cret@h/db"), "");
}

} // namespace
} // namespace livemigrate
