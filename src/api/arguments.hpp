// Reading the arguments of SQL-callable functions into C++ and giving rows back.
#pragma once

#include "pg/prelude.hpp"

#include "core/lsn.hpp"
#include "pg/spi.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace livemigrate::api {

// nullopt for NULL and for arguments that are not there. name and text alike.
std::optional<std::string> TextArgument(FunctionCallInfo fcinfo, int index);
std::optional<std::vector<std::string>> TextArrayArgument(FunctionCallInfo fcinfo, int index);
std::optional<int> IntArgument(FunctionCallInfo fcinfo, int index);
std::optional<bool> BoolArgument(FunctionCallInfo fcinfo, int index);
std::optional<Lsn> LsnArgument(FunctionCallInfo fcinfo, int index);

// The argument, or Error 22004 naming it when it is NULL: for those whose default is not NULL.
std::string RequiredText(FunctionCallInfo fcinfo, int index, const char *name);
std::vector<std::string> RequiredTextArray(FunctionCallInfo fcinfo, int index, const char *name);
int RequiredInt(FunctionCallInfo fcinfo, int index, const char *name);
Lsn RequiredLsn(FunctionCallInfo fcinfo, int index, const char *name);
bool RequiredBool(FunctionCallInfo fcinfo, int index, const char *name);

// Gives the rows to a set-returning function's caller; values go through the result columns'
// input functions.
Datum ReturnRows(FunctionCallInfo fcinfo, const std::vector<std::vector<pg::SqlValue>> &rows);

// The same for a function that returns SETOF text.
Datum ReturnLines(FunctionCallInfo fcinfo, const std::vector<std::string> &lines);

// The same for a function that returns one composite.
Datum ReturnRow(FunctionCallInfo fcinfo, const std::vector<pg::SqlValue> &row);

// The length of an interval. Throws Error of class 22 for what is none.
std::chrono::milliseconds Milliseconds(const std::string &interval);

Datum ReturnName(const std::string &name);

// NOTICE to the caller, with a hint.
void Notice(const std::string &message, const std::string &hint = "");

} // namespace livemigrate::api
