"""nb <-> text. Cells begin with '%% md' or '%% code [tag tag ...]'."""
import json,sys,re,hashlib
def to_text(nb):
    out=[]
    for c in nb['cells']:
        kind={'markdown':'md','code':'code'}[c['cell_type']]
        tags=c['metadata'].get('tags',[])
        out.append(f"%% {kind} {' '.join(tags)}".rstrip()+"\n"+''.join(c['source'])+"\n")
    return "\n".join(out)
def from_text(text, meta):
    cells=[]
    parts=re.split(r'(?m)^%% (md|code)(.*)\n',text)[1:]
    for i in range(0,len(parts),3):
        kind,head,src=parts[i],parts[i+1].split(" | "),parts[i+2].strip("\n")
        tags=head[0].split()
        md={'tags':tags} if tags else {}
        if len(head)>1:
            md['mystnb']={'image':{'alt':head[1].strip()}}
            if len(head)>2: md['mystnb']['figure']={'caption':head[2].strip()}
        cell={'cell_type':'markdown' if kind=='md' else 'code','id':hashlib.sha1(f"{i}{src[:60]}".encode()).hexdigest()[:8],'metadata':md,'source':src.splitlines(keepends=True)}
        if kind=='code': cell.update(execution_count=None,outputs=[])
        cells.append(cell)
    return {'cells':cells,**meta}
if __name__=='__main__':
    if sys.argv[1]=='totext':
        print(to_text(json.load(open(sys.argv[2]))))
    else:
        old=json.load(open(sys.argv[4])) if len(sys.argv)>4 else None
        meta={'metadata':old['metadata'],'nbformat':4,'nbformat_minor':5}
        json.dump(from_text(open(sys.argv[2]).read(),meta),open(sys.argv[3],'w'),indent=1,ensure_ascii=False)
