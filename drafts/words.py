import json,re,sys
for f in sys.argv[1:]:
    nb=json.load(open(f)); t="\n\n".join(''.join(c['source']) for c in nb['cells'] if c['cell_type']=='markdown')
    t=t.split("\n## Quiz")[0]
    t=re.sub(r'(?s)<details.*?</details>','',t); t=re.sub(r'(?s)\$\$.*?\$\$','',t); t=re.sub(r'\]\([^)]*\)',']',t)
    print(f,len(t.split()))
