#include "core/blocker_text.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

TEST(BlockerText, SinceWhenIsLeftOutWhereItIsNotShown) {
    EXPECT_EQ(DescribeProcess("4711", "app", "00:02:10"), "process 4711 (app, since 00:02:10)");
    EXPECT_EQ(DescribeProcess("4711", "app", std::nullopt), "process 4711 (app)");
}

TEST(BlockerText, APreparedTransactionEndsInItsDatabaseOnly) {
    const PreparedTransaction one{"it's", "shop", "app", "00:02:10"};
    EXPECT_EQ(DescribePrepared(one), "prepared transaction 'it''s' (app, since 00:02:10)");
    EXPECT_EQ(WherePreparedEnds(one), R"(in database "shop", as role "app" or a superuser)");
    EXPECT_EQ(CommitPrepared(one), "COMMIT PREPARED 'it''s';");
    EXPECT_EQ(RollbackPrepared(one), "ROLLBACK PREPARED 'it''s';");
}

} // namespace
} // namespace livemigrate
