// Messages of wal2json 2.5, format version 2; recording.sql tells how it was recorded.
#pragma once

#include "recording.hpp"

namespace livemigrate::test {

// clang-format off
inline constexpr RecordedMessage kWal2jsonRecording[] = {
    {"0/19B96E0",
     R"j({"action":"B","xid":789,"timestamp":"2026-11-22 15:55:06.42708+00","lsn":"0/19BA2E8")j"
     R"j(,"nextlsn":"0/19BA318"})j"},
    {"0/19B96E0",
     R"j({"action":"I","xid":789,"timestamp":"2026-11-22 15:55:06.42708+00","lsn":"0/19B96E0")j"
     R"j(,"schema":"public","table":"item","columns":[{"name":"id","value":1},{"name":"name",)j"
     R"j("value":"plain"},{"name":"price","value":12.50},{"name":"active","value":true},{"nam)j"
     R"j(e":"note","value":null}]})j"},
    {"0/19BA188",
     R"j({"action":"I","xid":789,"timestamp":"2026-11-22 15:55:06.42708+00","lsn":"0/19BA188")j"
     R"j(,"schema":"public","table":"item","columns":[{"name":"id","value":2},{"name":"name",)j"
     R"j("value":"quote \" back \\ slash \n tab \t ctl \u0001 end"},{"name":"price","value":0)j"
     R"j(.00},{"name":"active","value":false},{"name":"note","value":"TTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT)j"
     R"j(TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT"}]})j"},
    {"0/19BA248",
     R"j({"action":"I","xid":789,"timestamp":"2026-11-22 15:55:06.42708+00","lsn":"0/19BA248")j"
     R"j(,"schema":"public","table":"item","columns":[{"name":"id","value":922337203685477580)j"
     R"j(7},{"name":"name","value":"ünïcödé 😀  "},{"name":"price","value":9999999999)j"
     R"j(.99},{"name":"active","value":null},{"name":"note","value":""}]})j"},
    {"0/19BA318",
     R"j({"action":"C","xid":789,"timestamp":"2026-11-22 15:55:06.42708+00","lsn":"0/19BA2E8")j"
     R"j(,"nextlsn":"0/19BA318"})j"},
    {"0/19BA318",
     R"j({"action":"B","xid":790,"timestamp":"2026-11-22 15:55:06.427896+00","lsn":"0/19BA3B8)j"
     R"j(","nextlsn":"0/19BA3E8"})j"},
    {"0/19BA350",
     R"j({"action":"U","xid":790,"timestamp":"2026-11-22 15:55:06.427896+00","lsn":"0/19BA350)j"
     R"j(","schema":"public","table":"item","columns":[{"name":"id","value":2},{"name":"name")j"
     R"j(,"value":"renamed"},{"name":"price","value":0.00},{"name":"active","value":false}],")j"
     R"j(identity":[{"name":"id","value":2}]})j"},
    {"0/19BA3E8",
     R"j({"action":"C","xid":790,"timestamp":"2026-11-22 15:55:06.427896+00","lsn":"0/19BA3B8)j"
     R"j(","nextlsn":"0/19BA3E8"})j"},
    {"0/19BA3E8",
     R"j({"action":"B","xid":791,"timestamp":"2026-11-22 15:55:06.42809+00","lsn":"0/19BA4D8")j"
     R"j(,"nextlsn":"0/19BA508"})j"},
    {"0/19BA420",
     R"j({"action":"U","xid":791,"timestamp":"2026-11-22 15:55:06.42809+00","lsn":"0/19BA420")j"
     R"j(,"schema":"public","table":"item","columns":[{"name":"id","value":3},{"name":"name",)j"
     R"j("value":"renamed"},{"name":"price","value":0.00},{"name":"active","value":false}],"i)j"
     R"j(dentity":[{"name":"id","value":2}]})j"},
    {"0/19BA508",
     R"j({"action":"C","xid":791,"timestamp":"2026-11-22 15:55:06.42809+00","lsn":"0/19BA4D8")j"
     R"j(,"nextlsn":"0/19BA508"})j"},
    {"0/19BA508",
     R"j({"action":"B","xid":792,"timestamp":"2026-11-22 15:55:06.428234+00","lsn":"0/19BA608)j"
     R"j(","nextlsn":"0/19BA638"})j"},
    {"0/19BA5B0",
     R"j({"action":"U","xid":792,"timestamp":"2026-11-22 15:55:06.428234+00","lsn":"0/19BA5B0)j"
     R"j(","schema":"public","table":"item","columns":[{"name":"id","value":3},{"name":"name")j"
     R"j(,"value":"renamed"},{"name":"price","value":0.00},{"name":"active","value":false},{")j"
     R"j(name":"note","value":null}],"identity":[{"name":"id","value":3}]})j"},
    {"0/19BA638",
     R"j({"action":"C","xid":792,"timestamp":"2026-11-22 15:55:06.428234+00","lsn":"0/19BA608)j"
     R"j(","nextlsn":"0/19BA638"})j"},
    {"0/19BA638",
     R"j({"action":"B","xid":793,"timestamp":"2026-11-22 15:55:06.428345+00","lsn":"0/19BA680)j"
     R"j(","nextlsn":"0/19BA6B0"})j"},
    {"0/19BA638",
     R"j({"action":"D","xid":793,"timestamp":"2026-11-22 15:55:06.428345+00","lsn":"0/19BA638)j"
     R"j(","schema":"public","table":"item","identity":[{"name":"id","value":3}]})j"},
    {"0/19BA6B0",
     R"j({"action":"C","xid":793,"timestamp":"2026-11-22 15:55:06.428345+00","lsn":"0/19BA680)j"
     R"j(","nextlsn":"0/19BA6B0"})j"},
    {"0/19BA6B0",
     R"j({"action":"B","xid":794,"timestamp":"2026-11-22 15:55:06.429177+00","lsn":"0/19BA858)j"
     R"j(","nextlsn":"0/19BA888"})j"},
    {"0/19BA6B0",
     R"j({"action":"I","xid":794,"timestamp":"2026-11-22 15:55:06.429177+00","lsn":"0/19BA6B0)j"
     R"j(","schema":"public","table":"full_identity","columns":[{"name":"a","value":1},{"name)j"
     R"j(":"b","value":"one"},{"name":"c","value":"{\"k\": [1, 2, {\"x\": null}]}"}]})j"},
    {"0/19BA710",
     R"j({"action":"I","xid":794,"timestamp":"2026-11-22 15:55:06.429177+00","lsn":"0/19BA710)j"
     R"j(","schema":"public","table":"full_identity","columns":[{"name":"a","value":1},{"name)j"
     R"j(":"b","value":"one"},{"name":"c","value":"{\"k\": [1, 2, {\"x\": null}]}"}]})j"},
    {"0/19BA770",
     R"j({"action":"I","xid":794,"timestamp":"2026-11-22 15:55:06.429177+00","lsn":"0/19BA770)j"
     R"j(","schema":"public","table":"full_identity","columns":[{"name":"a","value":null},{"n)j"
     R"j(ame":"b","value":null},{"name":"c","value":null}]})j"},
    {"0/19BA7A8",
     R"j({"action":"U","xid":794,"timestamp":"2026-11-22 15:55:06.429177+00","lsn":"0/19BA7A8)j"
     R"j(","schema":"public","table":"full_identity","columns":[{"name":"a","value":null},{"n)j"
     R"j(ame":"b","value":"uno"},{"name":"c","value":null}],"identity":[{"name":"a","value":n)j"
     R"j(ull},{"name":"b","value":null},{"name":"c","value":null}]})j"},
    {"0/19BA7F8",
     R"j({"action":"D","xid":794,"timestamp":"2026-11-22 15:55:06.429177+00","lsn":"0/19BA7F8)j"
     R"j(","schema":"public","table":"full_identity","identity":[{"name":"a","value":1},{"nam)j"
     R"j(e":"b","value":"one"},{"name":"c","value":"{\"k\": [1, 2, {\"x\": null}]}"}]})j"},
    {"0/19BA888",
     R"j({"action":"C","xid":794,"timestamp":"2026-11-22 15:55:06.429177+00","lsn":"0/19BA858)j"
     R"j(","nextlsn":"0/19BA888"})j"},
    {"0/19BA888",
     R"j({"action":"B","xid":795,"timestamp":"2026-11-22 15:55:06.429465+00","lsn":"0/19BA970)j"
     R"j(","nextlsn":"0/19BA9A0"})j"},
    {"0/19BA888",
     R"j({"action":"I","xid":795,"timestamp":"2026-11-22 15:55:06.429465+00","lsn":"0/19BA888)j"
     R"j(","schema":"public","table":"by_index","columns":[{"name":"x","value":1},{"name":"y")j"
     R"j(,"value":"why"},{"name":"z","value":26}]})j"},
    {"0/19BA9A0",
     R"j({"action":"C","xid":795,"timestamp":"2026-11-22 15:55:06.429465+00","lsn":"0/19BA970)j"
     R"j(","nextlsn":"0/19BA9A0"})j"},
    {"0/19BA9A0",
     R"j({"action":"B","xid":796,"timestamp":"2026-11-22 15:55:06.431161+00","lsn":"0/19BA9F0)j"
     R"j(","nextlsn":"0/19BAA20"})j"},
    {"0/19BA9A0",
     R"j({"action":"U","xid":796,"timestamp":"2026-11-22 15:55:06.431161+00","lsn":"0/19BA9A0)j"
     R"j(","schema":"public","table":"by_index","columns":[{"name":"x","value":2},{"name":"y")j"
     R"j(,"value":"why"},{"name":"z","value":26}],"identity":[{"name":"y","value":"why"},{"na)j"
     R"j(me":"z","value":26}]})j"},
    {"0/19BAA20",
     R"j({"action":"C","xid":796,"timestamp":"2026-11-22 15:55:06.431161+00","lsn":"0/19BA9F0)j"
     R"j(","nextlsn":"0/19BAA20"})j"},
    {"0/19BAA20",
     R"j({"action":"B","xid":797,"timestamp":"2026-11-22 15:55:06.431294+00","lsn":"0/19BAAC0)j"
     R"j(","nextlsn":"0/19BAAF0"})j"},
    {"0/19BAA20",
     R"j({"action":"U","xid":797,"timestamp":"2026-11-22 15:55:06.431294+00","lsn":"0/19BAA20)j"
     R"j(","schema":"public","table":"by_index","columns":[{"name":"x","value":2},{"name":"y")j"
     R"j(,"value":"why"},{"name":"z","value":27}],"identity":[{"name":"y","value":"why"},{"na)j"
     R"j(me":"z","value":26}]})j"},
    {"0/19BAAF0",
     R"j({"action":"C","xid":797,"timestamp":"2026-11-22 15:55:06.431294+00","lsn":"0/19BAAC0)j"
     R"j(","nextlsn":"0/19BAAF0"})j"},
    {"0/19BAAF0",
     R"j({"action":"B","xid":798,"timestamp":"2026-11-22 15:55:06.431376+00","lsn":"0/19BAB38)j"
     R"j(","nextlsn":"0/19BAB68"})j"},
    {"0/19BAAF0",
     R"j({"action":"D","xid":798,"timestamp":"2026-11-22 15:55:06.431376+00","lsn":"0/19BAAF0)j"
     R"j(","schema":"public","table":"by_index","identity":[{"name":"y","value":"why"},{"name)j"
     R"j(":"z","value":27}]})j"},
    {"0/19BAB68",
     R"j({"action":"C","xid":798,"timestamp":"2026-11-22 15:55:06.431376+00","lsn":"0/19BAB38)j"
     R"j(","nextlsn":"0/19BAB68"})j"},
    {"0/19BAB68",
     R"j({"action":"B","xid":799,"timestamp":"2026-11-22 15:55:06.431677+00","lsn":"0/19BAC48)j"
     R"j(","nextlsn":"0/19BAC78"})j"},
    {"0/19BAB68",
     R"j({"action":"I","xid":799,"timestamp":"2026-11-22 15:55:06.431677+00","lsn":"0/19BAB68)j"
     R"j(","schema":"Odd \"Schema","table":"Täble\\ 😀","columns":[{"name":"Kéy","value":)j"
     R"j(1},{"name":"quo\"te","value":"\""},{"name":"new\nline","value":"x"}]})j"},
    {"0/19BAC78",
     R"j({"action":"C","xid":799,"timestamp":"2026-11-22 15:55:06.431677+00","lsn":"0/19BAC48)j"
     R"j(","nextlsn":"0/19BAC78"})j"},
    {"0/19BAC78",
     R"j({"action":"B","xid":800,"timestamp":"2026-11-22 15:55:06.431826+00","lsn":"0/19BACC8)j"
     R"j(","nextlsn":"0/19BACF8"})j"},
    {"0/19BAC78",
     R"j({"action":"U","xid":800,"timestamp":"2026-11-22 15:55:06.431826+00","lsn":"0/19BAC78)j"
     R"j(","schema":"Odd \"Schema","table":"Täble\\ 😀","columns":[{"name":"Kéy","value":)j"
     R"j(1},{"name":"quo\"te","value":"y"},{"name":"new\nline","value":"x"}],"identity":[{"na)j"
     R"j(me":"Kéy","value":1}]})j"},
    {"0/19BACF8",
     R"j({"action":"C","xid":800,"timestamp":"2026-11-22 15:55:06.431826+00","lsn":"0/19BACC8)j"
     R"j(","nextlsn":"0/19BACF8"})j"},
    {"0/19BACF8",
     R"j({"action":"B","xid":801,"timestamp":"2026-11-22 15:55:06.432606+00","lsn":"0/19BAFC0)j"
     R"j(","nextlsn":"0/19BAFF0"})j"},
    {"0/19BACF8",
     R"j({"action":"I","xid":801,"timestamp":"2026-11-22 15:55:06.432606+00","lsn":"0/19BACF8)j"
     R"j(","schema":"public","table":"typed","columns":[{"name":"id","value":1},{"name":"m",")j"
     R"j(value":"happy"},{"name":"b","value":"deadbeef"},{"name":"d","value":"7"},{"name":"f")j"
     R"j(,"value":0.30000000000000004},{"name":"n","value":0.00000000000000000000000000000000)j"
     R"j(000000000000000000000000000000000000000000000000000000000000000000000000000000000000)j"
     R"j(00000000000001},{"name":"bits","value":"101"},{"name":"ts","value":"2026-01-02 03:04)j"
     R"j(:05.678+00"},{"name":"arr","value":"{a,NULL,\"c,d\"}"},{"name":"j","value":"{\"a\": )j"
     R"j(\"\\\\u20ac\"}"},{"name":"g","value":2}]})j"},
    {"0/19BAE50",
     R"j({"action":"I","xid":801,"timestamp":"2026-11-22 15:55:06.432606+00","lsn":"0/19BAE50)j"
     R"j(","schema":"public","table":"typed","columns":[{"name":"id","value":2},{"name":"m",")j"
     R"j(value":"sad"},{"name":"b","value":""},{"name":"d","value":"1"},{"name":"f","value":n)j"
     R"j(ull},{"name":"n","value":null},{"name":"bits","value":""},{"name":"ts","value":"infi)j"
     R"j(nity"},{"name":"arr","value":"{}"},{"name":"j","value":"null"},{"name":"g","value":4)j"
     R"j(}]})j"},
    {"0/19BAF10",
     R"j({"action":"I","xid":801,"timestamp":"2026-11-22 15:55:06.432606+00","lsn":"0/19BAF10)j"
     R"j(","schema":"public","table":"typed","columns":[{"name":"id","value":3},{"name":"m",")j"
     R"j(value":null},{"name":"b","value":null},{"name":"d","value":null},{"name":"f","value")j"
     R"j(:-1.5e+300},{"name":"n","value":123456789012345678901234567890.123456789},{"name":"b)j"
     R"j(its","value":null},{"name":"ts","value":null},{"name":"arr","value":null},{"name":"j)j"
     R"j(","value":null},{"name":"g","value":6}]})j"},
    {"0/19BAFF0",
     R"j({"action":"C","xid":801,"timestamp":"2026-11-22 15:55:06.432606+00","lsn":"0/19BAFC0)j"
     R"j(","nextlsn":"0/19BAFF0"})j"},
    {"0/19BAFF0",
     R"j({"action":"B","xid":802,"timestamp":"2026-11-22 15:55:06.435224+00","lsn":"0/19BB028)j"
     R"j(","nextlsn":"0/19BB058"})j"},
    {"0/19BAFF0",
     R"j({"action":"I","xid":802,"timestamp":"2026-11-22 15:55:06.435224+00","lsn":"0/19BAFF0)j"
     R"j(","schema":"public","table":"no_columns","columns":[]})j"},
    {"0/19BB058",
     R"j({"action":"C","xid":802,"timestamp":"2026-11-22 15:55:06.435224+00","lsn":"0/19BB028)j"
     R"j(","nextlsn":"0/19BB058"})j"},
    {"0/19BB058",
     R"j({"action":"B","xid":803,"timestamp":"2026-11-22 15:55:06.435561+00","lsn":"0/19BB138)j"
     R"j(","nextlsn":"0/19BB168"})j"},
    {"0/19BB058",
     R"j({"action":"I","xid":803,"timestamp":"2026-11-22 15:55:06.435561+00","lsn":"0/19BB058)j"
     R"j(","schema":"public","table":"parent","columns":[{"name":"id","value":1}]})j"},
    {"0/19BB168",
     R"j({"action":"C","xid":803,"timestamp":"2026-11-22 15:55:06.435561+00","lsn":"0/19BB138)j"
     R"j(","nextlsn":"0/19BB168"})j"},
    {"0/19BB168",
     R"j({"action":"B","xid":804,"timestamp":"2026-11-22 15:55:06.436114+00","lsn":"0/19BB280)j"
     R"j(","nextlsn":"0/19BB2B0"})j"},
    {"0/19BB168",
     R"j({"action":"I","xid":804,"timestamp":"2026-11-22 15:55:06.436114+00","lsn":"0/19BB168)j"
     R"j(","schema":"public","table":"child","columns":[{"name":"id","value":1},{"name":"pare)j"
     R"j(nt_id","value":1}]})j"},
    {"0/19BB2B0",
     R"j({"action":"C","xid":804,"timestamp":"2026-11-22 15:55:06.436114+00","lsn":"0/19BB280)j"
     R"j(","nextlsn":"0/19BB2B0"})j"},
    {"0/19BB2B0",
     R"j({"action":"B","xid":805,"timestamp":"2026-11-22 15:55:06.436997+00","lsn":"0/19BBE20)j"
     R"j(","nextlsn":"0/19BBF90"})j"},
    {"0/19BBDF0",
     R"j({"action":"T","xid":805,"timestamp":"2026-11-22 15:55:06.436997+00","lsn":"0/19BBDF0)j"
     R"j(","schema":"public","table":"parent"})j"},
    {"0/19BBDF0",
     R"j({"action":"T","xid":805,"timestamp":"2026-11-22 15:55:06.436997+00","lsn":"0/19BBDF0)j"
     R"j(","schema":"public","table":"child"})j"},
    {"0/19BBF90",
     R"j({"action":"C","xid":805,"timestamp":"2026-11-22 15:55:06.436997+00","lsn":"0/19BBE20)j"
     R"j(","nextlsn":"0/19BBF90"})j"},
    {"0/19BBF90",
     R"j({"action":"B","xid":806,"timestamp":"2026-11-22 15:55:06.439808+00","lsn":"0/19BCB88)j"
     R"j(","nextlsn":"0/19BCCF8"})j"},
    {"0/19BCB58",
     R"j({"action":"T","xid":806,"timestamp":"2026-11-22 15:55:06.439808+00","lsn":"0/19BCB58)j"
     R"j(","schema":"public","table":"item"})j"},
    {"0/19BCCF8",
     R"j({"action":"C","xid":806,"timestamp":"2026-11-22 15:55:06.439808+00","lsn":"0/19BCB88)j"
     R"j(","nextlsn":"0/19BCCF8"})j"},
    {"0/19BCCF8",
     R"j({"action":"B","xid":807,"timestamp":"2026-11-22 15:55:06.440487+00","lsn":"0/19BCD50)j"
     R"j(","nextlsn":"0/19BCD80"})j"},
    {"0/19BCD50",
     R"j({"action":"M","xid":807,"timestamp":"2026-11-22 15:55:06.440487+00","lsn":"0/19BCD50)j"
     R"j(","transactional":true,"prefix":"livemigrate","content":"transactional \"text\"\n"})j"},
    {"0/19BCD80",
     R"j({"action":"C","xid":807,"timestamp":"2026-11-22 15:55:06.440487+00","lsn":"0/19BCD50)j"
     R"j(","nextlsn":"0/19BCD80"})j"},
    {"0/19BCDC8",
     "{\042action\042:\042M\042,\042xid\042:null,\042timestamp\042:null,\042lsn\042:\0420/"
     "19BCDC8\042,\042transactional\042:false,\042prefix\042:\042livemigrate\042,\042conte"
     "nt\042:\042\336\255\276\357\042}"},
    {"0/19BCEE0",
     R"j({"action":"B","xid":809,"timestamp":"2026-11-22 15:55:06.444007+00","lsn":"0/19BD058)j"
     R"j(","nextlsn":"0/19BD090"})j"},
    {"0/19BCFC8",
     R"j({"action":"I","xid":809,"timestamp":"2026-11-22 15:55:06.444007+00","lsn":"0/19BCFC8)j"
     R"j(","schema":"public","table":"item","columns":[{"name":"id","value":12},{"name":"name)j"
     R"j(","value":"kept"},{"name":"price","value":1.00},{"name":"active","value":true},{"nam)j"
     R"j(e":"note","value":""}]})j"},
    {"0/19BD090",
     R"j({"action":"C","xid":809,"timestamp":"2026-11-22 15:55:06.444007+00","lsn":"0/19BD058)j"
     R"j(","nextlsn":"0/19BD090"})j"},
    {"0/19BD090",
     R"j({"action":"B","xid":812,"timestamp":"2026-11-22 15:55:06.44463+00","lsn":"0/19BD918")j"
     R"j(,"nextlsn":"0/19BDA10"})j"},
    {"0/19BDA10",
     R"j({"action":"C","xid":812,"timestamp":"2026-11-22 15:55:06.44463+00","lsn":"0/19BD918")j"
     R"j(,"nextlsn":"0/19BDA10"})j"},
    {"0/19BDA10",
     R"j({"action":"B","xid":813,"timestamp":"2026-11-22 15:55:06.444852+00","lsn":"0/19BDAA8)j"
     R"j(","nextlsn":"0/19BDAD8"})j"},
    {"0/19BDA10",
     R"j({"action":"I","xid":813,"timestamp":"2026-11-22 15:55:06.444852+00","lsn":"0/19BDA10)j"
     R"j(","schema":"public","table":"item","columns":[{"name":"id","value":13},{"name":"name)j"
     R"j(","value":"wider"},{"name":"price","value":1.00},{"name":"active","value":true},{"na)j"
     R"j(me":"note","value":""},{"name":"extra","value":6}]})j"},
    {"0/19BDAD8",
     R"j({"action":"C","xid":813,"timestamp":"2026-11-22 15:55:06.444852+00","lsn":"0/19BDAA8)j"
     R"j(","nextlsn":"0/19BDAD8"})j"},
    {"0/19BDAD8",
     R"j({"action":"B","xid":814,"timestamp":"2026-11-22 15:55:06.445368+00","lsn":"0/19BDD38)j"
     R"j(","nextlsn":"0/19BDDB0"})j"},
    {"0/19BDDB0",
     R"j({"action":"C","xid":814,"timestamp":"2026-11-22 15:55:06.445368+00","lsn":"0/19BDD38)j"
     R"j(","nextlsn":"0/19BDDB0"})j"},
    {"0/19BDDB0",
     R"j({"action":"B","xid":815,"timestamp":"2026-11-22 15:55:06.445533+00","lsn":"0/19BDE40)j"
     R"j(","nextlsn":"0/19BDE70"})j"},
    {"0/19BDDB0",
     R"j({"action":"I","xid":815,"timestamp":"2026-11-22 15:55:06.445533+00","lsn":"0/19BDDB0)j"
     R"j(","schema":"public","table":"item","columns":[{"name":"id","value":14},{"name":"name)j"
     R"j(","value":"narrower"},{"name":"active","value":true},{"name":"note","value":""},{"na)j"
     R"j(me":"extra","value":7}]})j"},
    {"0/19BDE70",
     R"j({"action":"C","xid":815,"timestamp":"2026-11-22 15:55:06.445533+00","lsn":"0/19BDE40)j"
     R"j(","nextlsn":"0/19BDE70"})j"},
    {"0/19BDE70",
     R"j({"action":"B","xid":816,"timestamp":"2026-11-22 15:55:06.445669+00","lsn":"0/19BE148)j"
     R"j(","nextlsn":"0/19BE1C0"})j"},
    {"0/19BE1C0",
     R"j({"action":"C","xid":816,"timestamp":"2026-11-22 15:55:06.445669+00","lsn":"0/19BE148)j"
     R"j(","nextlsn":"0/19BE1C0"})j"},
    {"0/19BE1C0",
     R"j({"action":"B","xid":817,"timestamp":"2026-11-22 15:55:06.44732+00","lsn":"0/19BE220")j"
     R"j(,"nextlsn":"0/19BE250"})j"},
    {"0/19BE1C0",
     R"j({"action":"U","xid":817,"timestamp":"2026-11-22 15:55:06.44732+00","lsn":"0/19BE1C0")j"
     R"j(,"schema":"public","table":"item","columns":[{"name":"id","value":14},{"name":"title)j"
     R"j(","value":"changed"},{"name":"active","value":true},{"name":"note","value":""},{"nam)j"
     R"j(e":"extra","value":7}],"identity":[{"name":"id","value":14}]})j"},
    {"0/19BE250",
     R"j({"action":"C","xid":817,"timestamp":"2026-11-22 15:55:06.44732+00","lsn":"0/19BE220")j"
     R"j(,"nextlsn":"0/19BE250"})j"},
    {"0/19BE250",
     R"j({"action":"B","xid":818,"timestamp":"2026-11-22 15:55:06.447661+00","lsn":"0/19BE3A0)j"
     R"j(","nextlsn":"0/19BE3F8"})j"},
    {"0/19BE3F8",
     R"j({"action":"C","xid":818,"timestamp":"2026-11-22 15:55:06.447661+00","lsn":"0/19BE3A0)j"
     R"j(","nextlsn":"0/19BE3F8"})j"},
    {"0/19BE3F8",
     R"j({"action":"B","xid":819,"timestamp":"2026-01-01 00:00:00+00","lsn":"0/19BE490","next)j"
     R"j(lsn":"0/19BE4D8"})j"},
    {"0/19BE3F8",
     R"j({"action":"I","xid":819,"timestamp":"2026-01-01 00:00:00+00","lsn":"0/19BE3F8","sche)j"
     R"j(ma":"public","table":"item","columns":[{"name":"id","value":15},{"name":"title","val)j"
     R"j(ue":"origin"},{"name":"active","value":false},{"name":"note","value":""},{"name":"ex)j"
     R"j(tra","value":8}]})j"},
    {"0/19BE4D8",
     R"j({"action":"C","xid":819,"timestamp":"2026-01-01 00:00:00+00","lsn":"0/19BE490","next)j"
     R"j(lsn":"0/19BE4D8"})j"},
};
// clang-format on

} // namespace livemigrate::test
