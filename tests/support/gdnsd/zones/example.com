$TTL 600
@ SOA ns1 hostmaster ( 1 7200 ; serial
   30M 3D 900 )
@ NS ns1
ns1 A 192.0.2.53
www 300/30 DYNC geoip!www
cdn DYNA geoip!cdn
eu.www 60 DYNA geoip!www/eu
mail DYNA multifo!mail
    MX 10 mail
shares 30 DYNC weighted!shares
racks DYNA weighted!racks
names DYNC weighted!names
$ORIGIN sub.example.com.
far DYNA metafo!far
pair.@Z DYNA simplefo!pair
txt TXT "a ; DYNA ( b"
gone DYNA geoip!nothing
alias CNAME www.@Z
