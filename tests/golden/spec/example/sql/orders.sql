select *, upper(status) as status_code from input
