import sys; sys.path.insert(0,'/tmp')
import nbtext,json
for n in sys.argv[1:]:
    nb=nbtext.from_text(open(f'/tmp/ch/{n}.txt').read(),{'metadata':{"kernelspec":{"display_name":"Python 3","language":"python","name":"python3"},"language_info":{"name":"python"}},'nbformat':4,'nbformat_minor':5})
    json.dump(nb,open(f'chapters/{n}.ipynb','w'),indent=1,ensure_ascii=False)
